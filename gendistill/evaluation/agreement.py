"""Does a measurement agree with what a source reports? By the interval of one more run, or the rule of comparisons."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from gendistill.evaluation.comparison import LEVEL, Sample, compare, quantile

LEAST_RUNS = 2
FID = "FID"
"""What a distance of Inception's features with the official weights is called; no other is what sources report."""
ITSELF = "run"
"""How an order names the row that is replicated."""


@dataclass(frozen=True)
class Agreement:
    """One thing that a source says, beside what was measured.

    Attributes:
        what: ``accuracy``, ``FID``, the name of a further score, or an order: ``gan ahead of longer``.
        said: The reported number; None of an order.
        mean: The mean over the runs, or of the differences of an order; None: not measured.
        low: Lower end of the interval; None: too few runs.
        high: Upper end.
        agrees: Whether what is said is compatible; None: cannot be told.
    """

    what: str
    said: float | None
    mean: float | None
    low: float | None
    high: float | None
    agrees: bool | None


def agreements(results: Mapping[str, Any]) -> list[Agreement]:
    """Hold what the source says against what was measured.

    A number agrees where it lies in the 95 % prediction interval of one more run (Student's t over the runs; the
    standard deviation is never taken for less than that of rounding): a source has run its row once. An order agrees
    where the rule of comparisons finds the first ahead, and disagrees where it finds the other.

    Args:
        results: What :func:`gendistill.commands.replicated.replicate` returned.

    Returns:
        One for each thing said that can be held against something; none where nothing was said in numbers.
    """
    rows = results["replicated"]
    said = rows[0].get("reported") or {}
    found: list[Agreement] = []
    step = _step(results["teachers"][0])
    if said.get("accuracy") is not None:
        found.append(_number("accuracy", said["accuracy"], rows[0].get("accuracy"), step))
    fidelity = rows[0].get("fidelity")
    if said.get("fid") is not None and fidelity and fidelity.get("name") == FID:
        found.append(_number(FID, said["fid"], fidelity, 0.0))
    further = rows[0].get("further") or {}
    for name, value in (said.get("scores") or {}).items():
        if value is not None and name in further:
            found.append(_number(name, value, further[name], 0.0))
    return found + _orders(said.get("ahead") or {}, results)


def interval(runs: Sequence[float], step: float = 0.0) -> tuple[float, float] | None:
    """Return the 95 % prediction interval of one more run; None for fewer than two.

    Args:
        runs: What the runs gave.
        step: Distance of two values that can be told apart; their standard deviation is at least step / sqrt(12).
    """
    if len(runs) < LEAST_RUNS:
        return None
    spread = max(statistics.stdev(runs), step / sqrt(12))
    reach = float(quantile(len(runs) - 1.0, level=LEVEL)) * spread * sqrt(1 + 1 / len(runs))
    mean = statistics.fmean(runs)
    return mean - reach, mean + reach


def _number(what: str, said: float, measured: Mapping[str, Any] | None, step: float) -> Agreement:
    runs = [float(one) for one in (measured or {}).get("runs") or () if one is not None]
    if not runs:
        return Agreement(what, said, None, None, None, None)
    reach = interval(runs, step)
    if reach is None:
        return Agreement(what, said, runs[0], None, None, None)
    low, high = reach
    return Agreement(what, said, statistics.fmean(runs), low, high, low <= said <= high)


def _orders(ahead: Mapping[str, Sequence[str]], results: Mapping[str, Any]) -> list[Agreement]:
    rows, seeds = results["replicated"], tuple(results["seeds"])
    samples: dict[str, Sample] = {}
    for place, (row, teacher) in enumerate(zip(rows, results["teachers"], strict=True)):
        runs = (row.get("accuracy") or {}).get("runs") or ()
        known = seeds if len(seeds) == len(runs) else None
        samples[row["name"] if place else ITSELF] = Sample(tuple(map(float, runs)), known, _step(teacher))
    pairs = {
        (first, second): (samples[first], samples[second])
        for first, others in ahead.items()
        for second in others
        if first in samples and second in samples
    }
    names = {ITSELF: str(rows[0]["name"])}
    found = []
    decided = compare(pairs)
    for first, second in pairs:
        one = decided.get((first, second))
        what = f"{names.get(first, first)} ahead of {names.get(second, second)}"
        if one is None:
            found.append(Agreement(what, None, None, None, None, None))
        else:
            found.append(Agreement(what, None, one.mean, one.low, one.high, one.ahead if one.decided else None))
    return found


def _step(teacher: Mapping[str, Any]) -> float:
    sizes = (teacher.get("learning") or {}).get("class_sizes") or ()
    return 1 / sum(sizes) if sum(sizes) else 0.0
