"""What a trainer may know of the run that it is in."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams


@dataclass
class RunContext:
    """One run: its options, its place, its device and its randomness.

    Attributes:
        options: What the user chose.
        directory: Where the run writes.
        device: Where networks and data are.
        streams: The run's random generators, one a purpose.
        processes: This process among those of the run.
        step: Completed training steps.
        seconds: Wall seconds of training up to the last saved state, over all parts of a run that was continued.
        saved: The step of the last saved state; None: none was saved.
        metrics: Means of the metrics over the last logged interval.
        warnings: What was wrong at the end without a NaN, as sentences; see :mod:`gendistill.runs.watch`.
        useless: What of it makes the teacher useless; None: nothing.
    """

    options: RunOptions
    directory: RunDirectory
    device: torch.device
    streams: Streams
    processes: Processes = field(default_factory=Processes)
    step: int = 0
    seconds: float = 0.0
    saved: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    useless: str | None = None
