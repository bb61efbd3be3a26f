"""How good what a run has made is so far: what every method measures while it trains, if it is asked to."""

from __future__ import annotations

from typing import Protocol

import torch

from gendistill.data.real import RealData
from gendistill.evaluation.modes import point_modes
from gendistill.evaluation.probe import DistanceProbe
from gendistill.runs.context import RunContext
from gendistill.teacher import Teacher

VIEW = ("captured", "high_quality", "kl")
"""What is told of the modes of points."""


class Host(Protocol):
    """What a measurement asks of a trainer."""

    run: RunContext
    data: RealData

    def teacher(self) -> Teacher:
        """Return what was learned so far."""


class Measured:
    """What one run measures, with what it takes to do so.

    Args:
        host: The trainer.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.probe: DistanceProbe | None = None

    def now(self) -> dict[str, float]:
        """Return numbers by name: of points the modes captured, else :meth:`DistanceProbe.measure`."""
        run, data, teacher = self.host.run, self.host.data, self.host.teacher()
        samples, seed = run.options.evaluate_samples, run.options.seed
        if data.description.cloud is not None:
            view = point_modes(teacher, data, count=samples, seed=seed)["views"][0]
            return {f"modes_{name}": float(view[name]) for name in VIEW if view.get(name) is not None}
        if self.probe is None:
            with torch.enable_grad():  # the classifier may have to be trained first
                self.probe = DistanceProbe(data, samples, seed)
        return self.probe.measure(teacher)
