"""Runs of private trainers, and the mechanism that looks at no record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.privacy import mechanism
from gendistill.privacy.mechanism import PrivateSums
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from trainers.mean_embedding import MeanEmbeddingTrainer
from trainers.private import PrivateTrainer
from trainers.private_gan import PrivateGANTrainer
from trainers.private_gradients import PrivateGradientMatchingTrainer
from trainers.private_matching import PrivateDistributionMatchingTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}
GTN = {
    "class_path": "gendistill.nets.gtn.GTNGenerator",
    "init_args": {"nz": 3, "hidden": 8, "channels": 4, "output_scale": 1.0},
}
DCGAN = {
    "class_path": "gendistill.nets.dcgan.ConditionalDCGANGenerator",
    "init_args": {"nz": 3, "ngf": 4, "bottom_width": 4},
}
JUDGE = {
    "class_path": "gendistill.nets.dcgan.ConditionalDCGANDiscriminator",
    "init_args": {"ndf": 4, "bottom_width": 4, "norm": "none"},
}
MATCHING = {
    "class_size": 30, "networks": 3, "images_per_class": 2, "learner": LEARNER, "augment": "color_crop_cutout",
}  # fmt: skip


def matching(**options: Any) -> PrivateDistributionMatchingTrainer:
    """Return a small private matching trainer."""
    return PrivateDistributionMatchingTrainer(**(MATCHING | options))


def embedding(**options: Any) -> MeanEmbeddingTrainer:
    """Return a small DP-MERF trainer."""
    return MeanEmbeddingTrainer(**({"class_size": 30, "frequencies": 20, "batch_size": 6, "generator": GTN} | options))


def gan(**options: Any) -> PrivateGANTrainer:
    """Return a small GAN by DP-SGD."""
    return PrivateGANTrainer(
        **({"class_size": 30, "batch_size": 6, "n_dis": 2, "generator": DCGAN, "discriminator": JUDGE} | options)
    )


def gradients(**options: Any) -> PrivateGradientMatchingTrainer:
    """Return a small private gradient matching trainer."""
    given = {"class_size": 30, "networks": 3, "sample": 9, "images_per_class": 2, "learner": LEARNER}
    return PrivateGradientMatchingTrainer(**(given | options))


METHODS: dict[str, Callable[..., PrivateTrainer]] = {
    "matching": matching,
    "embedding": embedding,
    "gan": gan,
    "gradients": gradients,
}


def run(
    trainer: PrivateTrainer,
    data: RealData,
    root: Path,
    name: str = "run",
    steps: int = 6,
    config: dict[str, Any] | None = None,
    **more: Any,
) -> Any:
    """Make a whole run."""
    options = {"device": "cpu", "sample_every": 3, "log_every": 2, "save_every": 3, "progress": False} | more
    given = RunOptions(name=name, root=str(root), steps=steps, **options)
    return train(trainer, data, given, None if config is None else config | {"run": given.to_dict()})


class Blind(PrivateSums):
    """Gives noise of a fixed generator, whatever the records are: what depends on them now goes round it."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.generator = torch.Generator().manual_seed(1)

    def _sum(self, contribution: Any, bound: float, rate: float, by_class: bool) -> Tensor:
        return torch.zeros(self._shape(contribution, by_class), dtype=torch.float64)

    def _noise(self, count: int, scale: float) -> Tensor:
        return torch.randn(count, generator=self.generator, dtype=torch.float64) * scale


def silent(monkeypatch: Any) -> None:
    """Switch noise off."""
    monkeypatch.setattr(mechanism, "system_normal", lambda count: torch.zeros(count, dtype=torch.float64))
