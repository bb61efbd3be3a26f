"""What the loop costs beside the step: the time between two bare steps, for a step of 20 ms.

A bare step is a batch and a ``train_step``, which any loop has; here it computes for about 20 ms and returns three
metrics, as a small GAN does. Counted is all the time between the bare steps: counters, progress, metrics, finiteness,
TensorBoard at every ``log_every``. Saving and pictures are left out: ``save_every`` and ``sample_every`` set what they
cost.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from typing import Any

import torch
from torch import Tensor

from gendistill.data import load
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import StoredImages, Teacher
from trainers.trainer import Trainer

THREADS = 1
TARGET_PERCENT = 3.0


class Busy(Trainer):
    """Multiplies matrices for the length of a step and notes the time outside its own methods."""

    def __init__(self, step_seconds: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step_seconds = step_seconds
        self.gaps: list[float] = []
        self.steps_done: list[float] = []

    def build(self) -> None:
        """Make the matrix."""
        self.matrix = torch.eye(64)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Draw a batch: the beginning of a bare step."""
        self.began = time.perf_counter()
        if self.steps_done:
            self.gaps.append(self.began - self.steps_done[-1])
        return super().next_batch()

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Compute until the time is over."""
        while time.perf_counter() - self.began < self.step_seconds:
            self.matrix = self.matrix @ self.matrix
        metrics = {name: self.matrix[0, 0] + 0 for name in ("discriminator", "generator", "penalty")}
        self.steps_done.append(time.perf_counter())
        return metrics

    def teacher(self) -> Teacher:
        """Return one image a class."""
        description = self.data.description
        images = torch.zeros(description.num_classes, *description.image_shape)
        return StoredImages(images, torch.arange(description.num_classes), description)


def measure(steps: int = 201, turns: int = 3, step_seconds: float = 0.02) -> dict[str, Any]:
    """Return the loop's cost per step.

    Args:
        steps: Steps a turn; one more than a multiple of ``log_every`` (50), so that each interval's log is counted.
        turns: Turns; the median counts.
        step_seconds: Length of the bare step, in seconds.

    Returns:
        ``step_ms``, ``loop_us`` (mean time between two bare steps), ``loop_typical_us`` (its median: a step that logs
        nothing), ``overhead_percent`` of the step, ``target_percent``, and the turns.
    """
    data = load("digits")
    means, medians = [], []
    with tempfile.TemporaryDirectory() as root:
        for turn in range(turns):
            trainer = Busy(step_seconds, batch_size=64)
            options = RunOptions(
                name=f"turn-{turn}",
                root=root,
                steps=steps,
                save_every=steps,
                sample_every=0,
                progress=False,
                device="cpu",
            )
            train(trainer, data, options)
            means.append(1e6 * statistics.fmean(trainer.gaps))
            medians.append(1e6 * statistics.median(trainer.gaps))
    loop_us = statistics.median(means)
    return {
        "step_ms": 1000 * step_seconds,
        "loop_us": round(loop_us, 1),
        "loop_typical_us": round(statistics.median(medians), 1),
        "overhead_percent": round(loop_us / (1e4 * step_seconds), 3),
        "target_percent": TARGET_PERCENT,
        "turns_us": [round(value, 1) for value in means],
    }
