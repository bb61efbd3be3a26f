"""Small trajectory matching on the bands data set: a few short experts, a few distilled images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from trainers.trajectory_matching import TrajectoryMatchingTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
EXPERT = {"lr": 0.05, "batch_size": 48}


class Linear(nn.Module):
    """Logits of one linear layer without bias: the gradient of a student's step is known in closed form."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.classifier = nn.Linear(math.prod(image_shape), num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


LINEAR = {"class_path": f"{__name__}.Linear"}


def tiny(**options: Any) -> TrajectoryMatchingTrainer:
    given: dict[str, Any] = {
        "images_per_class": 2,
        "learner": LEARNER,
        "experts": 2,
        "expert": EXPERT,
        "student_steps": 3,
        "expert_epochs": 1,
        "max_start_epoch": 2,
        "lr_images": 1.0,
        "learning_rate": 0.05,
    }
    return TrajectoryMatchingTrainer(**(given | options))


def attached(
    trainer: TrajectoryMatchingTrainer, data: RealData, tmp_path: Path, **run: Any
) -> TrajectoryMatchingTrainer:
    processes = run.pop("processes", Processes())
    context = RunContext(
        RunOptions(root=str(tmp_path), device="cpu", progress=False, **run),
        RunDirectory(tmp_path, "run"),
        torch.device("cpu"),
        Streams(0),
        processes,
    )
    trainer.attach(context, data)
    return trainer


def options(tmp_path: Path, name: str, steps: int, **more: Any) -> RunOptions:
    return RunOptions(
        name=name, root=str(tmp_path), steps=steps, device="cpu", sample_every=0, progress=False, log_every=2, **more
    )


def step(trainer: TrajectoryMatchingTrainer) -> dict[str, Tensor]:
    metrics = trainer.train_step(trainer.next_batch())
    trainer.run.step += 1
    return metrics
