"""Right answers by class as scores: accuracy, accuracy of each class, balanced accuracy, and what chance would give."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill.data.real import Split

MEASURES = ("accuracy", "balanced")
"""Share of all images that are answered rightly, and the mean over the classes of the share of each."""
CHANCE_ERRORS = 2.0
"""Standard errors above chance from which a score is more than chance."""


def class_sizes(split: Split, num_classes: int) -> Tensor:
    """Return how many images each class has (K,), int64 on the CPU."""
    return torch.bincount(split.labels, minlength=num_classes).cpu()


def score(measure: str, right: Tensor, sizes: Tensor) -> Tensor:
    """Return each learner's score (M,), float64, a fraction.

    Args:
        measure: One of :data:`MEASURES`.
        right: (M, K) images of each class that each learner answers rightly.
        sizes: (K,) images of each class; classes without images count nowhere.
    """
    right = right.double()
    if measure == "accuracy":
        return right.sum(1) / int(sizes.sum())
    there = sizes > 0
    return (right[:, there] / sizes[there].double()).mean(1)


def summary(right: Sequence[Tensor], sizes: Tensor) -> dict[str, Any]:
    """Return all scores of a curve in plain values.

    Args:
        right: For each number of updates (S, K), see :func:`score`; a row a seed.
        sizes: (K,) images of each class.

    Returns:
        By number of updates ``mean`` and sample ``std`` over the seeds (None for one) and ``runs`` (by seed) of the
        accuracy; the same three of the balanced accuracy under ``balanced``; and ``per_class``, each class's accuracy
        in class order, the mean over the seeds (None for a class without images).
    """
    per_class = [
        [value / size if size else None for value, size in zip(mean.tolist(), sizes.tolist(), strict=True)]
        for mean in (one.double().mean(0) for one in right)
    ]
    spread = {name: over_runs([score(name, one, sizes).tolist() for one in right]) for name in MEASURES}
    return spread["accuracy"] | {"balanced": spread["balanced"], "per_class": per_class}


def over_runs(runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return ``mean``, sample ``std`` (None for one run) and ``runs``, by number of updates."""
    return {
        "mean": [statistics.fmean(row) for row in runs],
        "std": [statistics.stdev(row) if len(row) > 1 else None for row in runs],
        "runs": [list(row) for row in runs],
    }


def chance_limit(sizes: Sequence[int]) -> float:
    """Return the balanced accuracy up to which learners are no better than guessing, as far as so many images tell.

    Whatever a guesser prefers, its balanced accuracy is 1 / K on average. With n_c images of class c its standard error
    is at most ``sqrt(sum_c 1/K (1 - 1/K) / n_c) / K``, that of a guesser without preference; two of them are added.

    Args:
        sizes: Images of each class; classes without images count nowhere.
    """
    there = [size for size in sizes if size]
    classes = len(there)
    if not classes:
        return 1.0
    share = 1 / classes
    error = math.sqrt(sum(share * (1 - share) / size for size in there)) / classes
    return share + CHANCE_ERRORS * error


def at_chance(learning: Mapping[str, Any]) -> bool:
    """Return whether the learners of a curve are, after the last update, no better than guessing.

    They are where the balanced accuracy is within :func:`chance_limit` and the accuracy within two standard errors of
    that of a guesser who always says the largest class.

    Args:
        learning: What :func:`gendistill.evaluation.learning.learning_curve` returned.
    """
    sizes = learning["class_sizes"]
    # A class with few images may hide in the balanced accuracy what the others show.
    share = max(sizes, default=0) / max(sum(sizes), 1)
    majority = share + CHANCE_ERRORS * math.sqrt(share * (1 - share) / max(sum(sizes), 1))
    if learning["accuracy"]["mean"][-1] > majority:
        return False
    trained, classes = learning["updates"][-1] > 0, sum(size > 0 for size in sizes)
    return bool(trained and classes > 1 and learning["accuracy"]["balanced"]["mean"][-1] <= chance_limit(sizes))
