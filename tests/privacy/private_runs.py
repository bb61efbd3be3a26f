"""Runs of private trainers, and the mechanism that looks at no record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.privacy import mechanism
from gendistill.privacy.mechanism import PrivateSums
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from trainers.private import PrivateTrainer
from trainers.private_matching import PrivateDistributionMatchingTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}
MATCHING = {
    "class_size": 30, "networks": 3, "images_per_class": 2, "learner": LEARNER, "augment": "color_crop_cutout",
}  # fmt: skip


def matching(**options: Any) -> PrivateDistributionMatchingTrainer:
    """Return a small private matching trainer."""
    return PrivateDistributionMatchingTrainer(**(MATCHING | options))


def run(trainer: PrivateTrainer, data: RealData, root: Path, name: str = "run", steps: int = 6, **more: Any) -> Any:
    """Make a whole run."""
    options = {"device": "cpu", "sample_every": 3, "log_every": 2, "save_every": 3, "progress": False} | more
    return train(trainer, data, RunOptions(name=name, root=str(root), steps=steps, **options))


class Blind(PrivateSums):
    """Gives noise of a fixed generator, whatever the records are: what depends on them now goes round it."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.generator = torch.Generator().manual_seed(1)
        shape = parts[0].images.shape[1:]
        # The contribution is asked for its width on a grey image.
        self.probe = (torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64))

    def _sum(self, contribution: Any, bound: float, rate: float, by_class: bool) -> Tensor:
        width = contribution(*self.probe).shape[1]
        return torch.zeros((self.num_classes, width) if by_class else (width,), dtype=torch.float64)

    def _noise(self, count: int, scale: float) -> Tensor:
        return torch.randn(count, generator=self.generator, dtype=torch.float64) * scale


def silent(monkeypatch: Any) -> None:
    """Switch noise off."""
    monkeypatch.setattr(mechanism, "system_normal", lambda count: torch.zeros(count, dtype=torch.float64))
