"""How well a cheap score ranks architectures: rank correlations with the truth, and what the best by score are worth.

Such et al. 2020 report Spearman's correlation on the upper half of the architectures by the score. That half is easier
to choose well than the upper half by the truth, which is what a search is after, so both are given, named apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gendistill.errors import UserError
from gendistill.evaluation.checks import LARGEST

Array = NDArray[np.float64]

SUBSETS = ("all", "top_half_by_score", "top_half_by_truth")
RESAMPLES = 1000
CONFIDENCE = 0.95
FEWEST = 10
"""Architectures below which there is no interval: with five, one of 95 % holds the truth in as few as 77 % of studies
(``benchmarks/ranking_intervals.py``)."""


def ranking(
    scores: Mapping[str, float],
    truth: Mapping[str, float],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    fewest: int = FEWEST,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a score with the truth, architecture by architecture.

    Args:
        scores: Score by architecture; higher is better, not finite is worst.
        truth: True accuracy by architecture, a fraction. Architectures that only one of the two has are left out.
        resamples: Bootstrap resamples of the architectures, at least 1.
        confidence: Mass of the percentile intervals, in (0, 1).
        fewest: Architectures below which there is none.
        seed: Seed of the resampling.

    Returns:
        Plain values: ``architectures`` (how many); for each of :data:`SUBSETS` ``architectures``, ``spearman`` and
        ``kendall`` (tau-b), each with ``value``, ``low`` and ``high``, all None where one side is constant, the latter
        two also with fewer than 10 architectures; ``best``: the truth of what the score would choose, see
        :func:`best_found`. Intervals hold the subset fixed, and take the architectures for a random draw.

    Raises:
        UserError: Fewer than 3 architectures in common, a truth that is not finite, or an option out of range.
    """
    if resamples < 1 or not 0 < confidence < 1:
        raise UserError(f"resamples is {resamples}, at least 1; confidence is {confidence}, between 0 and 1")
    names = [name for name in scores if name in truth]
    if len(names) < 3:
        raise UserError(f"{len(names)} architectures have both a score and a truth; a ranking needs at least 3")
    x = np.array([scores[name] for name in names], dtype=np.float64)
    y = np.array([truth[name] for name in names], dtype=np.float64)
    x = np.where(np.isfinite(x), x, np.finfo(np.float64).min)
    for name in names:
        if not abs(truth[name]) <= LARGEST:
            raise UserError(f"the true accuracy of '{name}' is {truth[name]}; leave it out, or train it again")
    result: dict[str, Any] = {"architectures": len(names)}
    for subset, chosen in zip(SUBSETS, (np.arange(len(x)), upper_half(x), upper_half(y)), strict=True):
        weights = resample_weights(len(chosen), resamples, seed)
        result[subset] = {"architectures": len(chosen)}
        for name, value, resampled in (
            ("spearman", spearman(x[chosen], y[chosen]), spearman_of_resamples(x[chosen], y[chosen], weights)),
            ("kendall", kendall(x[chosen], y[chosen]), kendall_of_resamples(x[chosen], y[chosen], weights)),
        ):
            known = value if len(chosen) >= fewest else None
            result[subset][name] = {"value": value, **_interval(known, resampled, confidence)}
    result["best"] = best_found(x, y)
    return result


def upper_half(values: Array) -> NDArray[np.intp]:
    """Return the places of the upper half of values, rounded up; of equal ones those that come first, NaN last."""
    return np.sort(np.argsort(-values, kind="stable")[: -(-len(values) // 2)])


def best_found(scores: Array, truth: Array) -> dict[str, Any]:
    """Return what a search that trusts the score would find.

    Args:
        scores: (N,); of equal ones those that come first are taken.
        truth: (N,).

    Returns:
        ``top_1``: truth of the best by score; ``top_5`` and ``top_10_percent``: the best truth among the best by score
        (what is found when so many are trained in full); ``top_10_percent_mean``: their mean truth; ``best`` and
        ``mean`` of all.
    """
    ordered = truth[np.argsort(-scores, kind="stable")]
    tenth = max(1, round(len(truth) / 10))
    return {
        "top_1": float(ordered[0]),
        "top_5": float(ordered[:5].max()),
        "top_10_percent": float(ordered[:tenth].max()),
        "top_10_percent_mean": float(ordered[:tenth].mean()),
        "best": float(truth.max()),
        "mean": float(truth.mean()),
    }


def spearman(x: Array, y: Array) -> float | None:
    """Return Spearman's rank correlation, None where it is not defined (fewer than 2 values, or all equal)."""
    return _defined(stats.spearmanr, x, y)


def kendall(x: Array, y: Array) -> float | None:
    """Return Kendall's tau-b, None where it is not defined (fewer than 2 values, or all equal)."""
    return _defined(stats.kendalltau, x, y)


def resample_weights(count: int, resamples: int, seed: int) -> Array:
    """Return how often each of ``count`` items is drawn in each resample of ``count`` draws with repetition (R, N)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64)


def spearman_of_resamples(x: Array, y: Array, weights: Array) -> Array:
    """Return Spearman's correlation of each resample (R,), NaN where it is not defined.

    Ranks of a resample are counted, not sorted, so that all resamples are a few matrix products.

    Args:
        x: (N,).
        y: (N,).
        weights: (R, N), how often each item occurs.
    """
    left, right = _ranks(x, weights), _ranks(y, weights)
    total = weights.sum(1, keepdims=True)
    left = left - (weights * left).sum(1, keepdims=True) / total
    right = right - (weights * right).sum(1, keepdims=True) / total
    return _ratio((weights * left * right).sum(1), (weights * left * left).sum(1) * (weights * right * right).sum(1))


def kendall_of_resamples(x: Array, y: Array, weights: Array) -> Array:
    """Return Kendall's tau-b of each resample (R,), NaN where it is not defined; see :func:`spearman_of_resamples`."""
    signs = np.sign(x[:, None] - x), np.sign(y[:, None] - y)

    def pairs(matrix: Array) -> Array:
        return np.asarray(((weights @ matrix) * weights).sum(1))

    return _ratio(pairs(signs[0] * signs[1]), pairs(signs[0] ** 2) * pairs(signs[1] ** 2))


def _ranks(values: Array, weights: Array) -> Array:
    smaller = (values[None, :] < values[:, None]).astype(np.float64)
    equal = (values[None, :] == values[:, None]).astype(np.float64)
    return np.asarray(weights @ (smaller + 0.5 * equal).T + 0.5)


def _ratio(numerator: Array, squared: Array) -> Array:
    # Sums of squares of a constant are rounding errors of sums of ranks, far below those of two different ranks.
    defined = squared > 1e-9
    return np.where(defined, numerator / np.sqrt(np.where(defined, squared, 1.0)), np.nan)


def _defined(correlation: Any, x: Sequence[float] | Array, y: Sequence[float] | Array) -> float | None:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    value = float(correlation(x, y).statistic)
    return value if math.isfinite(value) else None


def _interval(value: float | None, resampled: Array, confidence: float) -> dict[str, float | None]:
    defined = resampled[np.isfinite(resampled)]
    if value is None or not len(defined):
        return {"low": None, "high": None}
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"low": float(low), "high": float(high)}
