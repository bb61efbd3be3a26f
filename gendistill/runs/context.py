"""What a trainer may know of the run that it is in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams

HIGHER = ("modes_captured", "modes_high_quality")
"""What is better the higher it is."""


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
        cpu_seconds: The same in seconds of the processor, of all threads and processes, from building the networks on.
        peaks: The most memory that a process of it has held up to then, bytes: ``peak_memory``, ``peak_gpu_memory``.
        saved: The step of the last saved state; None: none was saved.
        metrics: Means of the metrics over the last logged interval.
        measured: The last numbers that ``run.evaluate_every`` asked for, by name.
        best: The lowest of each so far, and its step; of ``modes_captured`` and ``modes_high_quality`` the highest.
        warnings: What was wrong at the end without a NaN, as sentences; see :mod:`gendistill.runs.watch`.
        useless: What of it makes the teacher useless; None: nothing.
        learned: Wall seconds that went into what is kept of before the first step (:mod:`gendistill.runs.head_start`).
        trial: Whether it only times a choice (``run.tune``), and nothing of it is kept.
    """

    options: RunOptions
    directory: RunDirectory
    device: torch.device
    streams: Streams
    processes: Processes = field(default_factory=Processes)
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peaks: dict[str, int] = field(default_factory=dict)
    saved: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    best: dict[str, tuple[int, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    useless: str | None = None
    learned: float = 0.0
    trial: bool = False

    def take(self, measured: Mapping[str, float]) -> None:
        """Keep what was measured at this step, and what is better than all before it."""
        self.measured = dict(measured)
        for name, value in measured.items():
            sign = -1 if name in HIGHER else 1
            known = self.best.get(name)
            if math.isfinite(value) and (known is None or sign * value < sign * known[1]):
                self.best[name] = (self.step, value)
