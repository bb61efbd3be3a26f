"""What one step of every trainer asks of a GPU, counted without one: waits, and operators dispatched.

Each trainer is attached to a device that is not there (:mod:`benchmarks.stand_in`) and makes a first step, in which
caches are filled. The second one is counted: ``waits`` are the reads of a device value, shapes that depend on numbers
and copies that are waited for, each with its line; ``operators`` are the kernels or views that a GPU would be asked for
(a step of few large ones is bound by the GPU, a step of many small ones by the program that launches them).

    python benchmarks/run.py waits
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.dm_step import random_data  # noqa: E402
from benchmarks.stand_in import DEVICE, stand_in  # noqa: E402
from gendistill.data.real import RealData  # noqa: E402
from gendistill.nets.cgan_pd import CGANPDGenerator  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.seeds import Streams, initialisation  # noqa: E402
from gendistill.teacher import GeneratorTeacher, StoredImages, save  # noqa: E402
from trainers.batch_condensation import BatchCondensationTrainer  # noqa: E402
from trainers.d2gan import ConditionalD2GANTrainer  # noqa: E402
from trainers.dataset_distillation import DatasetDistillationTrainer  # noqa: E402
from trainers.distribution_matching import DistributionMatchingTrainer  # noqa: E402
from trainers.enas import ENASTrainer  # noqa: E402
from trainers.gan import ConditionalGANTrainer, GANTrainer  # noqa: E402
from trainers.gradient_matching import GradientMatchingTrainer  # noqa: E402
from trainers.gtn import GTNTrainer  # noqa: E402
from trainers.latent_search import LatentSearchTrainer  # noqa: E402
from trainers.mggan import MGGANTrainer  # noqa: E402
from trainers.trainer import Trainer  # noqa: E402
from trainers.trajectory_matching import TrajectoryMatchingTrainer  # noqa: E402
from trainers.unrolled_gan import ConditionalUnrolledGANTrainer  # noqa: E402
from trainers.wgan import WGANTrainer  # noqa: E402

THREADS = 1
NETS, OF_TERMS = "gendistill.nets", "trainers.terms"
CONV = {"class_path": f"{NETS}.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
BATCH_NORM = {
    "class_path": f"{NETS}.learners.ConvNet",
    "init_args": {"width": 4, "depth": 1, "normalisation": "batch"},
}
WEIGHT_NORM = {
    "class_path": f"{NETS}.weight_normalised.WeightNormConvNet",
    "init_args": {"widths": [4], "hidden": None},
}
GAN: dict[str, Any] = {
    "generator": {"class_path": f"{NETS}.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 4}},
    "discriminator": {"class_path": f"{NETS}.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 4}},
    "batch_size": 12,
}
SNGAN: dict[str, Any] = {
    "generator": {"class_path": f"{NETS}.sngan.SNGANGenerator", "init_args": {"nz": 4, "ngf": 4}},
    "discriminator": {"class_path": f"{NETS}.sngan.SNGANDiscriminator", "init_args": {"ndf": 4}},
    "batch_size": 12,
}
WGAN: dict[str, Any] = {
    "generator": {"class_path": f"{NETS}.wgan_gp.WGANGPGenerator", "init_args": {"nz": 4, "ngf": 4}},
    "discriminator": {"class_path": f"{NETS}.wgan_gp.WGANGPDiscriminator", "init_args": {"ndf": 4}},
    "batch_size": 12,
}
MATCHED: dict[str, Any] = {"images_per_class": 2, "real_batch": 4, "learner": CONV}
GTN: dict[str, Any] = {
    "generator": {"class_path": f"{NETS}.gtn.GTNGenerator", "init_args": {"nz": 8, "hidden": 16, "channels": 8}},
    "learners": CONV,
    "inner_steps": 3,
    "inner_batch_size": 6,
    "batch_size": 12,
}
DD: dict[str, Any] = {"inner_steps": 2, "inner_epochs": 2, "learner": CONV, "batch_size": 12}
MTT: dict[str, Any] = {
    "images_per_class": 2,
    "learner": CONV,
    "experts": 1,
    "expert": {"lr": 0.05, "batch_size": 24},
    "student_steps": 3,
    "expert_epochs": 1,
    "max_start_epoch": 1,
}
TRAJECTORY: dict[str, Any] = {
    "learner": CONV,
    "experts": 1,
    "student_steps": 2,
    "expert_epochs": 1,
    "max_start_epoch": 1,
}
CELLS = {"class_path": f"{NETS}.spaces.CellSpace", "init_args": {"width": 4, "cells": 1, "stages": 1}}
AUGMENT = "color_crop_cutout_flip_scale_rotate"
POOL = {"state": "pool", "size": 2, "steps": 2, "refresh": 1, "batch_size": 8, "learner": CONV}
SMALL_PROBE: dict[str, Any] = {"probe": {"learner": CONV}, "real_per_class": 4, "generated_per_class": 4}
CONDENSED: dict[str, Any] = {"batch_size": 8, "condensed_size": 4, "num_batches": 2}
SEARCH: dict[str, Any] = {"images_per_class": 2, "real_batch": 4, "probe": CONV, "film_frames": 0}
TWO_SEAMS: dict[str, Any] = {"decode": 2, "augment": AUGMENT, "labeller": {"updates": 2, "learner": CONV}}
TERMS = [{"class_path": f"{OF_TERMS}.gradients.GradientDifference", "init_args": {"probe": {"learner": CONV}}}]
Make = Callable[[str, str], Trainer]


def term(name: str, **options: Any) -> dict[str, Any]:
    """Return the options of a GAN with one term."""
    return GAN | {"terms": [{"class_path": f"{OF_TERMS}.{name}", "init_args": options}]}


def gan(**options: Any) -> Make:
    """Return what makes a conditional GAN."""
    return lambda _, stored: ConditionalGANTrainer(**options)


def search(**options: Any) -> Make:
    """Return what makes a latent search."""
    return lambda generator, _: LatentSearchTrainer(generator, **SEARCH | options)


SETTINGS: dict[str, Make] = {
    "gan": gan(**GAN),
    "gan, ema and decay": gan(**GAN, ema_decay=0.9, lr_decay="linear", n_dis=2),
    "gan, augmented": gan(**GAN, diff_augment="color_crop_cutout"),
    "gan, feature matching": gan(**term("feature_matching.FeatureMatching", **SMALL_PROBE)),
    "gan, gradient matching": gan(**term("gradient_matching.ClassGradientMatching", **SMALL_PROBE)),
    "gan, gradient difference": gan(**term("gradients.GradientDifference", probe={"learner": CONV})),
    "gan, gradient magnitude": gan(**term("gradients.GradientMagnitude", probe={"learner": CONV})),
    "gan, meta-loss": gan(
        **term("meta_loss.MetaLoss", learners=CONV, inner_steps=2, inner_batch_size=6, meta_batch=1, real_per_class=2)
    ),
    "gan, trained probes": gan(
        **term(
            "feature_matching.FeatureMatching",
            **SMALL_PROBE | {"probe": {"state": "pretrained", "steps": 2, "batch_size": 8}},
        )
    ),
    "gan, pool of probes": gan(**term("gradient_matching.ClassGradientMatching", **SMALL_PROBE | {"probe": POOL})),
    "gan, gradient matching, augmented": gan(
        **term("gradient_matching.ClassGradientMatching", augment=AUGMENT, **SMALL_PROBE)
    ),
    "gan, meta-loss in windows": gan(
        **term(
            "meta_loss.MetaLoss",
            learners=CONV,
            meta_batch=2,
            real_per_class=2,
            real_every=1,
            inner={"steps": 3, "batch_size": 6, "window": 2, "optimizer": "adam", "memory": "recompute"},
        )
    ),
    "gan, trunk as probe": gan(**term("gradients.GradientMagnitude", probe={"state": "trunk"})),
    "mggan, exchanging": lambda _, stored: MGGANTrainer(
        preset="gap",
        schedule={"interval": 1},
        base={"class_path": "trainers.gan.ConditionalGANTrainer", "init_args": GAN},
    ),
    "gan, packed": gan(**GAN, packing=2, gradient_penalty=1.0, diff_augment="color_shift"),
    "gan, relativistic": gan(**GAN, loss_type="relativistic", r1=0.1, r2=0.1),
    "gan, unrolled": lambda _, stored: ConditionalUnrolledGANTrainer(**GAN, unroll_steps=2),
    "gan, unrolled by sgd": lambda _, stored: ConditionalUnrolledGANTrainer(
        **GAN, unroll_steps=2, unroll_optimizer="sgd", unroll_lr=0.01
    ),
    "d2gan": lambda _, stored: ConditionalD2GANTrainer(**GAN),
    "mggan, unrolled": lambda _, stored: MGGANTrainer(
        base={"class_path": "trainers.unrolled_gan.ConditionalUnrolledGANTrainer", "init_args": GAN},
        preset="gap",
        schedule={"period_a": "fixed", "first_interval": 9, "interval": 9, "window": 0},
    ),
    "sngan": lambda _, stored: GANTrainer(**SNGAN),
    "wgan-gp": lambda _, stored: WGANTrainer(**WGAN),
    "gtn": lambda _, stored: GTNTrainer(**GTN),
    "gtn, shuffled batches": lambda _, stored: GTNTrainer(**GTN, curriculum="batch_shuffled"),
    "gtn, shuffled images": lambda _, stored: GTNTrainer(**GTN, curriculum="all_shuffled", learn_labels=True),
    "gtn, fresh": lambda _, stored: GTNTrainer(**GTN, curriculum="fresh"),
    "gtn, window and adam": lambda _, stored: GTNTrainer(**GTN, window=2, inner_optimizer="adam"),
    "gtn, learners together": lambda _, stored: GTNTrainer(**GTN, meta_batch=2, batched_learners=True),
    "gtn, recomputed": lambda _, stored: GTNTrainer(**GTN, memory="recompute"),
    "gtn, running statistics": lambda _, stored: GTNTrainer(**GTN | {"learners": WEIGHT_NORM}),
    "gtn, random architectures": lambda _, stored: GTNTrainer(**GTN | {"learners": [CONV, WEIGHT_NORM]}),
    "gtn, random widths": lambda _, stored: GTNTrainer(
        **GTN
        | {
            "learners": {
                "class_path": f"{NETS}.spaces.WidthSpace",
                "init_args": {"learner": CONV, "widths": {"width": [2, 4]}},
            }
        }
    ),
    "gtn, poisoned": lambda _, stored: GTNTrainer(**GTN, poison="1:0"),
    "dm": lambda _, stored: DistributionMatchingTrainer(**MATCHED),
    "dm, augmented": lambda _, stored: DistributionMatchingTrainer(**MATCHED, augment=AUGMENT),
    "dm, batch norm": lambda _, stored: DistributionMatchingTrainer(**MATCHED | {"learner": BATCH_NORM}),
    "dm, pool of networks": lambda _, stored: DistributionMatchingTrainer(**MATCHED | {"learner": None}, probe=POOL),
    "dm, formation and labeller": lambda _, stored: DistributionMatchingTrainer(**MATCHED, **TWO_SEAMS),
    "dm, formation and batch norm": lambda _, stored: DistributionMatchingTrainer(
        **MATCHED | {"learner": BATCH_NORM}, decode=2, terms=TERMS
    ),
    "dm, palette": lambda _, stored: DistributionMatchingTrainer(**MATCHED, decode={"colours": 4}),
    "dm, generator": lambda generator, _: DistributionMatchingTrainer(
        **MATCHED, images="noise", decode={"generator": generator}, terms=TERMS
    ),
    "dc": lambda _, stored: GradientMatchingTrainer(**MATCHED, outer_loops=2, inner_loops=1),
    "dsa": lambda _, stored: GradientMatchingTrainer(**MATCHED, augment=AUGMENT, outer_loops=2, inner_loops=1),
    "mtt": lambda _, stored: TrajectoryMatchingTrainer(**MTT),
    "mtt, batches": lambda _, stored: TrajectoryMatchingTrainer(**MTT, student_batch=4, augment=AUGMENT),
    "mtt, formation and learned labels": lambda _, stored: TrajectoryMatchingTrainer(
        **MTT, **TWO_SEAMS, student_batch=4, labels="learned", trajectories=2, ema_decay=0.9, terms=TERMS
    ),
    "dd": lambda _, stored: DatasetDistillationTrainer(**DD),
    "dd, soft labels": lambda _, stored: DatasetDistillationTrainer(**DD, learn_labels=True),
    "dd, window": lambda _, stored: DatasetDistillationTrainer(**DD, window=2),
    "dd, mini-batches, formation and augmentation": lambda _, stored: DatasetDistillationTrainer(
        inner={"steps": 4, "epochs": 1, "batch_size": 6, "window": 2, "memory": "recompute", "optimizer": "adam"},
        images_per_class=4,
        learner=CONV,
        batch_size=12,
        augment_real="dsa",
        augment_mode="each",
        learn_labels=True,
        terms=TERMS,
        **TWO_SEAMS,
    ),
    "condensation": lambda _, stored: BatchCondensationTrainer(
        **CONDENSED, probes=[{"state": "fresh", "learner": CONV}]
    ),
    "condensation, generator": lambda generator, _: BatchCondensationTrainer(
        **CONDENSED, generator=generator, probes=[{"learner": CONV}]
    ),
    "condensation, formation and augmentation": lambda _, stored: BatchCondensationTrainer(
        **CONDENSED, probes=[{"learner": CONV}], decode=2, augment=AUGMENT, labels="learned", terms=TERMS
    ),
    "condensation, batch norm": lambda _, stored: BatchCondensationTrainer(
        **CONDENSED, probes=[{"learner": BATCH_NORM}, {"learner": WEIGHT_NORM}], decode=2
    ),
    "latents, features": search(),
    "latents, terms": search(terms=TERMS),
    "latents, gradients": search(objective="gradient_matching"),
    "latents, meta-loss": search(objective="meta_loss", inner_steps=2),
    "latents, meta-loss in windows": search(
        objective="meta_loss", inner={"steps": 3, "window": 2, "optimizer": "adam"}
    ),
    "latents, thesis": search(objective="thesis"),
    "latents, trajectory": search(objective={"class_path": "trajectory_matching", "init_args": TRAJECTORY}),
    "latents, clipped": search(constraint="clip"),
    "enas": lambda _, stored: ENASTrainer(teacher=stored, space=CELLS, batch_size=12),
}


def files(root: Path, data: RealData) -> tuple[str, str]:
    """Write a generator and a set of stored images with rates, as other trainers start from; return the two paths."""
    description = data.description
    sizes = {"num_classes": description.num_classes, "image_shape": description.image_shape}
    with initialisation(0, "generator"):
        network = CGANPDGenerator(nz=6, ngf=4, bottom_width=2, **sizes)
    network.spec = {
        "class_path": f"{NETS}.cgan_pd.CGANPDGenerator",
        "init_args": {"nz": 6, "ngf": 4, "bottom_width": 2} | sizes,
    }
    save(GeneratorTeacher(network, description), root / "generator.safetensors")
    images, labels = data.train.batch(torch.arange(6), description.normalisation)
    rates = torch.tensor([0.1, 0.05])
    save(StoredImages(images, labels, description, learning_rates=rates), root / "stored.safetensors")
    return str(root / "generator.safetensors"), str(root / "stored.safetensors")


def attach(trainer: Trainer, data: RealData, root: Path, device: torch.device, **run: Any) -> Trainer:
    """Return the trainer, ready for its first step on a device."""
    options = RunOptions(root=str(root), steps=10, **run)
    streams = Streams(options.seed, device)
    trainer.attach(RunContext(options, RunDirectory(root, "run"), device, streams), data.to(device))
    return trainer


def advance(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Make a step."""
    values = trainer.train_step(trainer.next_batch())
    trainer.run.step += 1
    return values


def small_data() -> RealData:
    """Return twenty random pictures 1x16x16 of each of three classes."""
    return random_data(20, (1, 16, 16), 3)


def count(name: str) -> dict[str, Any]:
    """Return the waits and the operators of the second step of one trainer."""
    data = small_data()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = files(root, data)
        with stand_in() as device:
            trainer = attach(SETTINGS[name](*paths), data, root, DEVICE)
            advance(trainer)
            device.forget()
            advance(trainer)
            return {"waits": sorted(device.waits), "operators": device.operators.total()}


def measure() -> dict[str, Any]:
    """Return the counts of every trainer."""
    return {name: count(name) for name in SETTINGS}
