"""Small generative teaching networks on the bands data set, and short runs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gendistill.data.real import RealData
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from trainers.gtn import GTNTrainer

GENERATOR = {
    "class_path": "gendistill.nets.gtn.GTNGenerator",
    "init_args": {"nz": 8, "hidden": 16, "channels": 8},
}
LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 8, "depth": 1}}
WEIGHT_NORM = {
    "class_path": "gendistill.nets.weight_normalised.WeightNormConvNet",
    "init_args": {"widths": [4, 6], "hidden": None},
}


def tiny(**options: Any) -> GTNTrainer:
    given: dict[str, Any] = {
        "generator": GENERATOR,
        "learners": LEARNER,
        "inner_steps": 3,
        "inner_batch_size": 6,
        "learning_rate": 0.1,
        "batch_size": 24,
        "real_every": 2,
    }
    return GTNTrainer(**(given | options))


def attached(trainer: GTNTrainer, data: RealData, tmp_path: Path, **run: Any) -> GTNTrainer:
    processes = run.pop("processes", Processes())
    options = RunOptions(root=str(tmp_path), device="cpu", **run)
    directory = RunDirectory(tmp_path, "run")
    trainer.attach(RunContext(options, directory, torch.device("cpu"), Streams(0), processes), data)
    return trainer


def options(tmp_path: Path, name: str, steps: int, **more: Any) -> RunOptions:
    return RunOptions(
        name=name, root=str(tmp_path), steps=steps, device="cpu", sample_every=0, progress=False, log_every=2, **more
    )
