"""The methods that train learners inside, small, on the bands data set, and one step of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.description import symmetric
from gendistill.data.real import RealData
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.objects import build
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams, initialisation
from gendistill.teacher import GeneratorTeacher, save
from trainers.dataset_distillation import DatasetDistillationTrainer
from trainers.gan import ConditionalGANTrainer
from trainers.gtn import GTNTrainer
from trainers.latent_search import LatentSearchTrainer
from trainers.trainer import Trainer
from trainers.trajectory_matching import TrajectoryMatchingTrainer

Inner = dict[str, Any]
Step = tuple[Tensor, Tensor]


class Smooth(nn.Module):
    """A network without kinks, and without weights whose gradient is rounding noise, of which Adam makes full steps."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.hidden, self.classifier = nn.Linear(math.prod(image_shape), 6), nn.Linear(6, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.tanh(self.hidden(x.flatten(1))))
        return logits


SMOOTH: Inner = {"class_path": f"{__name__}.Smooth"}
GENERATOR = {"class_path": "gendistill.nets.gtn.GTNGenerator", "init_args": {"nz": 8, "hidden": 16, "channels": 8}}
GAN: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 4}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 4}},
}
EXPERTS: dict[str, Any] = {"experts": 2, "expert": {"lr": 0.05, "batch_size": 48}, "expert_epochs": 1}


def gtn(root: Path, inner: Inner, learner: Inner) -> Trainer:
    return GTNTrainer(
        generator=GENERATOR, learners=learner, inner={"steps": 4, "batch_size": 6, "statistics": "batch"} | inner,
        learning_rate=0.05, batch_size=12, meta_batch=2, real_every=2, gradient_clip=0.0,
    )  # fmt: skip


def distillation(root: Path, inner: Inner, learner: Inner) -> Trainer:
    return DatasetDistillationTrainer(
        inner={"steps": 2, "epochs": 2} | inner, learner=learner, batch_size=24, meta_batch=2, learning_rate=0.05
    )


def trajectories(root: Path, inner: Inner, learner: Inner) -> Trainer:
    folder = str(root / "experts")
    return TrajectoryMatchingTrainer(
        inner={"steps": 4, "batch_size": 4} | inner, images_per_class=2, learner=learner, max_start_epoch=2,
        expert_folder=folder, labels="learned", trajectories=2, learning_rate=0.05, augment="shift_scale", **EXPERTS,
    )  # fmt: skip


def gan(root: Path, inner: Inner, learner: Inner) -> Trainer:
    meta = {"learners": learner, "real_per_class": 2, "horizon": 8, "real_every": 2}
    meta["inner"] = {"steps": 4, "batch_size": 6} | inner
    term = {"class_path": "trainers.terms.meta_loss.MetaLoss", "init_args": meta}
    return ConditionalGANTrainer(**GAN, batch_size=12, n_dis=1, ema_decay=0.0, terms=[term])


def generator(root: Path, data: RealData) -> str:
    path = root / "generator.safetensors"
    if not path.exists():
        sizes = {"num_classes": 3, "image_shape": (1, 8, 8), "bottom_width": 2, "nz": 6, "ngf": 4}
        with initialisation(0, "generator"):
            network = build(
                {"class_path": f"{CGANPDGenerator.__module__}.CGANPDGenerator", "init_args": sizes}, nn.Module
            )
        save(GeneratorTeacher(network, data.description.with_normalisation(symmetric(1))), path)
    return str(path)


def latents(root: Path, inner: Inner, learner: Inner) -> Trainer:
    return LatentSearchTrainer(
        str(root / "generator.safetensors"), images_per_class=2, real_batch=6, probe=learner, objective="meta_loss",
        inner={"steps": 4} | inner,
    )  # fmt: skip


def latent_trajectories(root: Path, inner: Inner, learner: Inner) -> Trainer:
    options = EXPERTS | {"learner": learner, "expert_folder": str(root / "experts"), "max_start_epoch": 2}
    objective = {"class_path": "trajectory_matching", "init_args": options | {"inner": {"steps": 4} | inner}}
    return LatentSearchTrainer(
        str(root / "generator.safetensors"), images_per_class=2, real_batch=6, probe=learner, objective=objective
    )


CALLERS: dict[str, Callable[[Path, Inner, Inner], Trainer]] = {
    "GTN": gtn,
    "DD": distillation,
    "MTT": trajectories,
    "GAN": gan,
    "latents": latents,
    "latents, trajectories": latent_trajectories,
}


def step(caller: str, root: Path, data: RealData, inner: Inner, learner: Inner = SMOOTH, **run: Any) -> Step:
    """Return the loss of what learners are asked in one step, and all gradients that the step leaves."""
    generator(root, data)
    trainer = CALLERS[caller](root, inner, learner)
    chosen = RunOptions(root=str(root), steps=4, device="cpu", progress=False, **run)
    trainer.attach(RunContext(chosen, RunDirectory(root, "run"), torch.device("cpu"), Streams(0)), data)
    values = trainer.train_step(trainer.next_batch())
    moved = [p for optimizer in trainer.optimizers().values() for g in optimizer.param_groups for p in g["params"]]
    losses = [value for name, value in values.items() if name in ("loss/meta", "loss/matching", "term/meta_loss")]
    losses += [value for name, value in values.items() if caller.startswith("latents") and name.startswith("loss/")]
    gradients = [value.grad.flatten() for value in moved if value.grad is not None]
    assert len(losses) == 1 and losses[0].isfinite()
    return losses[0], torch.cat(gradients)


def alike(one: Step, other: Step, within: float) -> bool:
    """Return whether losses and gradients are the same as far as ``within`` of their largest entry."""
    return all((a - b).abs().max() <= within * b.abs().max() for a, b in zip(one, other, strict=True))
