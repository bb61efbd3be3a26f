"""Small runs of every method with a loss of one's own, alone or in two processes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gendistill.data.description import Description, Normalisation, symmetric
from gendistill.data.real import RealData, Split
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.objects import build
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams, initialisation
from gendistill.teacher import GeneratorTeacher, save
from trainers.batch import Made
from trainers.batch_condensation import BatchCondensationTrainer
from trainers.dataset_distillation import DatasetDistillationTrainer
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.gan import ConditionalGANTrainer
from trainers.gradient_matching import GradientMatchingTrainer
from trainers.gtn import GTNTrainer
from trainers.latent_search import LatentSearchTrainer
from trainers.trainer import Trainer
from trainers.trajectory_matching import TrajectoryMatchingTrainer

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))
STEPS = 3
LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
GAN: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
    "batch_size": 12,
    "n_dis": 1,
    "lr_generator": 1e-3,
}
GTN: dict[str, Any] = {
    "generator": {
        "class_path": "gendistill.nets.gtn.GTNGenerator",
        "init_args": {"nz": 8, "hidden": 16, "channels": 8},
    },
    "learners": LEARNER,
    "inner_steps": 3,
    "inner_batch_size": 6,
    "meta_batch": 2,
    "batch_size": 24,
}
DM: dict[str, Any] = {"images_per_class": 2, "real_batch": 8, "chunk": 8, "learner": LEARNER, "images": "noise"}
FAMILIES: dict[str, tuple[type[Trainer], dict[str, Any]]] = {
    "gan": (ConditionalGANTrainer, GAN),
    "gtn": (GTNTrainer, GTN | {"learn_labels": True}),
    "gtn-recompute": (GTNTrainer, GTN | {"learn_labels": True, "memory": "recompute", "window": 2}),
    "dm": (DistributionMatchingTrainer, DM),
    "dc": (GradientMatchingTrainer, DM | {"outer_loops": 2, "inner_loops": 1}),
    "dd": (
        DatasetDistillationTrainer,
        {
            "inner_steps": 2,
            "inner_epochs": 2,
            "learner": LEARNER,
            "learn_labels": True,
            "meta_batch": 2,
            "batch_size": 24,
        },
    ),
    "mtt": (
        TrajectoryMatchingTrainer,
        {
            "images_per_class": 2,
            "learner": LEARNER,
            "labels": "learned",
            "experts": 2,
            "expert": {"lr": 0.05, "batch_size": 48},
            "student_steps": 2,
            "expert_epochs": 1,
            "max_start_epoch": 2,
            "lr_images": 1.0,
            "learning_rate": 0.05,
            "trajectories": 2,
        },
    ),
    "latent": (LatentSearchTrainer, {"images_per_class": 3, "real_batch": 8, "probe": LEARNER}),
    "condensation": (
        BatchCondensationTrainer,
        {
            "batch_size": 12,
            "condensed_size": 6,
            "num_batches": 4,
            "batches_at_once": 2,
            "labels": "learned",
            "probes": [{"state": "fresh", "learner": LEARNER}],
        },
    ),
}
FAMILIES["condensation-latents"] = (FAMILIES["condensation"][0], dict(FAMILIES["condensation"][1]))


def bands() -> RealData:
    """The bands data set of the tests, for processes that have no fixtures."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 3
        images = torch.randint(0, 60, (count, 1, 8, 8), generator=generator)
        rows = labels[:, None] * 2 + torch.arange(2)
        images[torch.arange(count)[:, None], 0, rows] += 180
        return Split(images.to(torch.uint8), labels)

    description = Description("bands", ("top", "middle", "bottom"), (1, 8, 8), Normalisation((0.3,), (0.3,)))
    return RealData(description, split(96), split(30), split(60))


def stored_generator(root: Path) -> str:
    """Write a generator and return its file."""
    spec: Any = {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator"}
    spec["init_args"] = {"nz": 6, "ngf": 4, "num_classes": 3, "image_shape": (1, 8, 8), "bottom_width": 2}
    path = root / "generator.safetensors"
    if not path.exists():
        with initialisation(0, "generator"):
            network: CGANPDGenerator = build(spec, CGANPDGenerator)
        save(GeneratorTeacher(network, bands().description.with_normalisation(symmetric(1))), path)
    return str(path)


def made(kind: type[Trainer], root: Path, options: dict[str, Any], **more: Any) -> Trainer:
    """Return a trainer; one that needs a generator gets the stored one."""
    given = options | more
    if issubclass(kind, LatentSearchTrainer):
        given["generator"] = stored_generator(root)
    return kind(**given)


def run_options(root: Path, name: str, **more: Any) -> RunOptions:
    """Options of a short run on the CPU without pictures."""
    given: dict[str, Any] = {"steps": STEPS, "device": "cpu", "sample_every": 0, "progress": False, "seed": 5}
    return RunOptions(name=name, root=str(root), log_every=1, **given | more)


def trained(trainer: Trainer, root: Path, name: str) -> dict[str, Tensor]:
    """Make a whole run; return what it learned, by name, and the last step's numbers as ``train/<name>``."""
    run = train(trainer, bands(), run_options(root, name))
    return learned(trainer) | {f"train/{key}": torch.tensor(value) for key, value in run.metrics.items()}


def attached(trainer: Trainer, root: Path) -> Trainer:
    """Attach a trainer to a run that writes nothing."""
    options = run_options(root, "attached")
    context = RunContext(options, RunDirectory(root, "attached"), torch.device("cpu"), Streams(options.seed))
    trainer.attach(context, bands())
    return trainer


def learned(trainer: Trainer) -> dict[str, Tensor]:
    """Return what a method learns, by name."""
    found: dict[str, Tensor] = {}
    for name in ("images", "labels", "latents", "raw_rates", "raw_rate", "values"):
        value = getattr(trainer, name, None)
        for place, tensor in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                found[f"{name}.{place}"] = tensor.detach().clone()
    for name in ("generator", "discriminator", "curriculum"):
        network = getattr(trainer, name, None)
        if isinstance(network, nn.Module):
            found |= {f"{name}.{key}": value.detach().clone() for key, value in network.state_dict().items()}
    return found


def asked(family: type[Trainer], loss: Callable[[Any, Made], Tensor | None], by_group: bool = False) -> type[Trainer]:
    """Return a subclass with a loss of its own."""

    class Own(family):  # type: ignore[misc, valid-type]
        extra_loss_by_group: ClassVar[bool] = by_group

        def extra_loss(self, made: Made) -> Tensor | None:
            return loss(self, made)

    return Own


def in_two(worker: Callable[..., None], root: Path) -> None:
    """Call ``worker(rank, port, root)`` in two processes."""
    import torch.multiprocessing as mp

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    mp.spawn(worker, (port, str(root)), nprocs=2)


def enter(rank: int, port: int) -> None:
    """Be one of two processes."""
    torch.set_num_threads(1)
    places = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in places.items()})
