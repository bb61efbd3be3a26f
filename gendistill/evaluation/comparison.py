"""Is one teacher ahead of another? Student's t on learners that are paired by seed, corrected over a whole report.

The rule, what it assumes, and how often it errs, are on the page docs/evaluation-comparing.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

LEVEL = 0.05
"""Probability, at most, that a report without any difference has one that counts; intervals hold the rest."""
LEAST_SPREAD = 1e-9
"""A standard deviation below this is a rounding error of equal numbers."""
FEW = 3.0
"""Seeds are few where a lead must exceed so many standard deviations of the differences to count."""

Array = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Sample:
    """What the learners of one teacher reached after one number of updates.

    Attributes:
        values: Accuracies, fractions, one a seed.
        seeds: Their seeds, in the same order, or whatever tells which learners belong together; None: not known.
        step: Distance of two accuracies that can be told apart: one over the number of images tested on. 0: not known.
    """

    values: tuple[float, ...]
    seeds: tuple[Hashable, ...] | None = None
    step: float = 0.0


@dataclass(frozen=True)
class Difference:
    """How far one sample is ahead of another.

    Attributes:
        mean: Difference of the means, a fraction.
        error: Its standard error; 0 where the seeds agree to the last digit and nothing tells how far to trust that.
        df: Degrees of freedom of Student's t.
        runs: Learners on both sides.
        paired: Whether differences were taken seed by seed; else by Welch.
        p: Two-sided probability of so large a difference where there is none.
        adjusted: The same after Holm's correction over the whole family.
        low: Lower end of the adjusted interval, None where the error is not known.
        high: Upper end.
    """

    mean: float
    error: float
    df: float
    runs: tuple[int, int]
    paired: bool
    p: float
    adjusted: float
    low: float | None
    high: float | None

    @property
    def decided(self) -> bool:
        """Whether the difference counts, in whichever direction; exactly then the interval leaves out 0."""
        return self.adjusted <= LEVEL

    @property
    def ahead(self) -> bool:
        """Whether the first sample is ahead."""
        return self.decided and self.mean > 0


class Estimate(NamedTuple):
    """Differences of means with their standard errors and degrees of freedom, arrays of one shape."""

    mean: Array
    error: Array
    df: Array


def paired(differences: ArrayLike, step: float = 0.0) -> Estimate:
    """Estimate the mean of paired differences.

    Accuracies on N images are multiples of 1/N. Rounding to them alone gives each a variance of 1/12N², so the variance
    of a difference is never taken for less than twice that: three seeds that happen to agree prove nothing beyond it.

    Args:
        differences: (..., K), one a seed, K at least 2.
        step: 1/N; 0: not known.

    Returns:
        Arrays (...).
    """
    differences = np.asarray(differences, dtype=np.float64)
    count = differences.shape[-1]
    variance = np.maximum(differences.var(-1, ddof=1), step**2 / 6)
    mean = differences.mean(-1)
    return Estimate(mean, _error(variance / count), np.full(mean.shape, count - 1.0))


def paired_intervals(differences: ArrayLike) -> Array:
    """Return mean, lower and upper end of several rows of paired differences, as one family (Holm).

    Unlike :func:`compare` it knows no bounds: for numbers that are no accuracies.

    Args:
        differences: (M, K), one row a comparison, one column a seed, K at least 2.

    Returns:
        (M, 3).
    """
    rows = paired(differences)
    reach = quantile(rows.df, holm(p_values(rows))[1]) * rows.error
    return np.stack([rows.mean, rows.mean - reach, rows.mean + reach], -1)


def welch(values: ArrayLike, others: ArrayLike, step: float = 0.0) -> Estimate:
    """Estimate the difference of the means of independent samples of unequal variance (Welch 1947).

    Args:
        values: (..., K), K at least 2.
        others: (..., L), L at least 2.
        step: See :func:`paired`; the variance of either side is never taken for less than that of rounding.

    Returns:
        Arrays (...); ``df`` by Welch and Satterthwaite.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (values, others)]
    parts = [np.maximum(side.var(-1, ddof=1), step**2 / 12) / side.shape[-1] for side in sides]
    squares = sum(part**2 / (side.shape[-1] - 1) for part, side in zip(parts, sides, strict=True))
    least = min(side.shape[-1] for side in sides) - 1.0
    total = parts[0] + parts[1]
    df = np.divide(total**2, squares, out=np.full_like(total, least), where=squares > 0)
    return Estimate(sides[0].mean(-1) - sides[1].mean(-1), _error(total), df)


def p_values(estimate: Estimate) -> Array:
    """Return two-sided p-values of Student's t; 1 where the error is not known."""
    known = estimate.error > 0
    t = np.divide(np.abs(estimate.mean), estimate.error, out=np.zeros_like(estimate.mean), where=known)
    return np.asarray(2 * special.stdtr(estimate.df, -t))


def holm(p: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Correct p-values for their number (Holm 1979), whatever their dependence.

    Args:
        p: (..., M).
        level: Where the procedure stops.

    Returns:
        Adjusted p-values (..., M), and (..., M) by how many the level was divided in the step that decided each: M for
        the smallest p-value, one less for the next; all that stay undecided share the step at which it stopped.
    """
    p = np.asarray(p, dtype=np.float64)
    count = p.shape[-1]
    order = p.argsort(-1, kind="stable")
    factors = np.arange(count, 0.0, -1.0)
    raised = np.minimum(1.0, np.maximum.accumulate(np.take_along_axis(p, order, -1) * factors, -1))
    stopped = count - (raised <= level).sum(-1, keepdims=True)
    steps = np.maximum(factors, np.maximum(stopped, 1))
    adjusted, shared = np.empty_like(raised), np.empty_like(raised)
    np.put_along_axis(adjusted, order, raised, -1)
    np.put_along_axis(shared, order, np.broadcast_to(steps, raised.shape), -1)
    return adjusted, shared


def compare(pairs: Mapping[Key, tuple[Sample, Sample]]) -> dict[Key, Difference]:
    """Compare the two samples of every pair as one family.

    Samples of the same seeds are compared seed by seed; others by Welch. A pair with fewer than two seeds on a side
    cannot be compared: it is left out, and is no part of the family.

    Args:
        pairs: By whatever names them.

    Returns:
        The differences of those that can be compared, first sample minus second, in order.
    """
    found = {key: (*_estimate(*pair), pair) for key, pair in pairs.items() if _comparable(*pair)}
    if not found:
        return {}
    estimates = Estimate(*(np.array([getattr(one[0], name) for one in found.values()]) for name in Estimate._fields))
    p = p_values(estimates)
    adjusted, steps = holm(p)
    reach = quantile(estimates.df, steps) * estimates.error
    differences = {}
    for place, (key, (one, by_seed, pair)) in enumerate(found.items()):
        mean, error, known = float(one.mean), float(one.error), float(one.error) > 0
        differences[key] = Difference(
            mean,
            error,
            float(one.df),
            (len(pair[0].values), len(pair[1].values)),
            by_seed,
            float(p[place]),
            float(adjusted[place]),
            max(-1.0, mean - float(reach[place])) if known else None,
            min(1.0, mean + float(reach[place])) if known else None,
        )
    return differences


def quantile(df: ArrayLike, comparisons: ArrayLike = 1.0, level: float = LEVEL) -> Array:
    """Return how many standard errors the two-sided interval of one of several comparisons reaches to each side."""
    share = level / (2 * np.asarray(comparisons, dtype=np.float64))
    return np.asarray(-special.stdtrit(np.asarray(df, dtype=np.float64), share))


def lead_needed(seeds: int, comparisons: int) -> float:
    """Return how many standard deviations of the paired differences a lead must be to count first of all.

    Args:
        seeds: Learners, at least 2.
        comparisons: Size of the family, at least 1.
    """
    return float(quantile(seeds - 1.0, comparisons)) / float(np.sqrt(seeds))


def paired_by(sample: Sample, other: Sample) -> bool:
    """Return whether two samples are of the same seeds, each of them once."""
    if sample.seeds is None or other.seeds is None:
        return False
    ours, theirs = set(sample.seeds), set(other.seeds)
    return ours == theirs and len(ours) == len(sample.values) == len(other.values)


def _comparable(sample: Sample, other: Sample) -> bool:
    return min(len(sample.values), len(other.values)) >= 2


def _estimate(sample: Sample, other: Sample) -> tuple[Estimate, bool]:
    step = max(sample.step, other.step)
    if not paired_by(sample, other):
        return welch(sample.values, other.values, step), False
    assert sample.seeds is not None and other.seeds is not None
    theirs: dict[Any, float] = dict(zip(other.seeds, other.values, strict=True))
    ours = zip(sample.seeds, sample.values, strict=True)
    return paired([value - theirs[seed] for seed, value in ours], step), True


def _error(variance: Array) -> Array:
    error = np.sqrt(variance)
    return np.where(error < LEAST_SPREAD, 0.0, error)
