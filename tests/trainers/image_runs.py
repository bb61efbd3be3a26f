"""Short runs of the trainers of stored images on the bands data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from gendistill import teacher as teachers
from gendistill.data.real import RealData
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from trainers.matching import MatchingTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}
BATCH_NORM = {**LEARNER, "init_args": {"width": 4, "depth": 1, "normalisation": "batch"}}
POOL = {"state": "pool", "size": 2, "steps": 4, "refresh": 1, "batch_size": 8}
Kind = TypeVar("Kind", bound=MatchingTrainer)


def attached(trainer: Kind, data: RealData, root: Path, processes: Processes | None = None, **options: Any) -> Kind:
    """Attach a trainer to a run that writes nothing."""
    chosen = RunOptions(root=str(root), device="cpu", **options)
    context = RunContext(
        chosen, RunDirectory(root, "run"), torch.device("cpu"), Streams(chosen.seed), processes or Processes()
    )
    trainer.attach(context, data)
    return trainer


def run(trainer: MatchingTrainer, data: RealData, root: Path, name: str, steps: int, **more: Any) -> Any:
    """Make a whole run."""
    quiet = {"sample_every": 0, "progress": False, "log_every": 2}
    chosen = RunOptions(name=name, root=str(root), steps=steps, device="cpu", **{**quiet, **more})
    return train(trainer, data, chosen)


def power_cut_changes_nothing(kind: type[MatchingTrainer], given: dict[str, Any], data: RealData, root: Path) -> None:
    """Check that a run of 7 steps, saved each third and cut off in the fifth, ends where the whole run does."""

    class Stops(kind):  # type: ignore[misc, valid-type]
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 4:
                raise RuntimeError("power cut")
            found: dict[str, Tensor] = super().train_step(batch)
            return found

    run(kind(**given), data, root, "whole", 7, save_every=3)
    stops = kind(**given)
    stops.__class__ = Stops
    with pytest.raises(RuntimeError, match="power cut"):
        run(stops, data, root, "halves", 7, save_every=3)
    assert run(kind(**given), data, root, "halves", 7, save_every=3).step == 7
    whole, halves = (teachers.load(root / part / "teacher.safetensors").tensors() for part in ("whole", "halves"))
    assert whole.keys() == halves.keys() and torch.equal(whole["images"], halves["images"])
