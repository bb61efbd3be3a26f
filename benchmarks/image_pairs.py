"""KID and precision, recall, density, coverage in one pass over the pairs of images, against one after the other.

Before, each made all products of features for itself, the real images' included in every call, and the spread of KID
came from 100 subsets. Now one pass serves both, products within a set are made once, and what the real images say among
themselves is kept. Fréchet distances are measured too: with the real side's factor made anew, and kept. Times are CPU
seconds of one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill.evaluation.frechet import Gaussian
from gendistill.evaluation.pairs import RealPairs, compare_pairs

THREADS = 1
ROWS = 1024
SUBSETS, SUBSET_SIZE = 100, 1000
CLASSES = 10


def measure(points: Sequence[tuple[int, int]] = ((5000, 2048), (5000, 128)), nearest: int = 5) -> dict[str, Any]:
    """Measure each point.

    Args:
        points: Images a side and width of the features.
        nearest: Which neighbour sets the radius.

    Returns:
        For each point CPU seconds of KID with its subsets, alone; of the four scores of neighbours, alone; of both in
        one pass, for the first teacher and for each further one; of the Fréchet distance, likewise; the ratios; and by
        how much the results differ at the most.
    """
    torch.linalg.eigvalsh(torch.eye(64, dtype=torch.float64))  # the first call loads libraries
    return {f"{count} images, {width} features": _point(count, width, nearest) for count, width in points}


def _point(count: int, width: int, nearest: int) -> dict[str, Any]:
    real, fake = (_features(count, width, seed) for seed in (1, 2))
    classes = torch.arange(count) % CLASSES
    none = torch.empty(0, 2, dtype=torch.int64)
    kid, kid_seconds = _timed(lambda: former_kid(fake, real))
    scores, score_seconds = _timed(lambda: former_neighbours(real, fake, nearest))
    kept, real_seconds = _timed(lambda: RealPairs.of(real, torch.zeros_like(classes), 1, nearest))
    (found, draws), pass_seconds = _timed(
        lambda: compare_pairs(
            kept, fake, torch.zeros_like(classes), [torch.arange(count)], shares=torch.ones(1), same=none,
            nearest=nearest,
        )
    )  # fmt: skip
    by_class = RealPairs.of(real, classes, CLASSES, nearest)
    _, class_seconds = _timed(
        lambda: compare_pairs(
            by_class, fake, classes, [torch.arange(count)], shares=torch.ones(CLASSES), same=none, nearest=nearest
        )
    )
    side, side_seconds = _timed(lambda: Gaussian.of_features(real))
    _, distance_seconds = _timed(lambda: Gaussian.of_features(fake).distance(side))
    return {
        "cpu_seconds": {
            "kid_with_subsets": kid_seconds,
            "neighbours": score_seconds,
            "one_pass": pass_seconds,
            "one_pass_of_classes": class_seconds,
            "real_pairs_once": real_seconds,
            "frechet": distance_seconds,
            "frechet_real_side_once": side_seconds,
        },
        "speedup_first_teacher": (kid_seconds + score_seconds) / (real_seconds + pass_seconds),
        "speedup_further_teachers": (kid_seconds + score_seconds) / pass_seconds,
        "frechet_speedup_further_teachers": (side_seconds + distance_seconds) / distance_seconds,
        "kid_apart": abs(found["value"] - kid) / abs(kid),
        "scores_apart": max(abs(draws[0][name] - value) for name, value in scores.items()),
    }


def former_kid(first: Tensor, second: Tensor) -> float:
    """Return KID of all images, and on the way that of 100 subsets of 1,000, as it was made before."""
    first, second = first.double(), second.double()
    generator = torch.Generator().manual_seed(0)
    size = min(SUBSET_SIZE, len(first), len(second))

    def members(count: int) -> Tensor:
        rows = torch.zeros(SUBSETS + 1, count, dtype=torch.float64)
        for row in rows[:-1]:
            row[torch.randperm(count, generator=generator)[:size]] = 1
        rows[-1] = 1
        return rows

    def between(one: Tensor, other: Tensor, mine: Tensor, theirs: Tensor) -> Tensor:
        total = torch.zeros(len(mine), dtype=torch.float64)
        for start in range(0, len(one), 2 * ROWS):
            rows = slice(start, start + 2 * ROWS)
            total += ((mine[:, rows] @ (one[rows] @ other.T / one.shape[1] + 1).pow_(3)) * theirs).sum(1)
        return total

    def within(features: Tensor, of: Tensor) -> Tensor:
        diagonal = (features.square().sum(1) / features.shape[1] + 1).pow(3)
        counts = of.sum(1)
        return (between(features, features, of, of) - of @ diagonal) / (counts * (counts - 1))

    of1, of2 = members(len(first)), members(len(second))
    crossed = between(first, second, of1, of2) / (of1.sum(1) * of2.sum(1))
    return float((within(first, of1) + within(second, of2) - 2 * crossed)[-1])


def former_neighbours(real: Tensor, fake: Tensor, nearest: int) -> dict[str, float]:
    """Return the four scores as they were made before."""
    centre = real.double().mean(0)
    real, fake = real.double() - centre, fake.double() - centre

    def distances(one: Tensor, other: Tensor) -> Tensor:
        scale = one.square().sum(1)[:, None] + other.square().sum(1)
        squared = scale - 2 * one @ other.T
        return squared.masked_fill_(squared < 1e-12 * scale, 0)

    def radii(features: Tensor) -> Tensor:
        parts = features.split(ROWS)
        return torch.cat([distances(part, features).kthvalue(nearest + 1, dim=1).values for part in parts])

    real_radii, fake_radii = radii(real), radii(fake)
    balls = torch.zeros(len(fake), dtype=torch.int64)
    recalled, covered = [], []
    for part, reach in zip(real.split(ROWS), real_radii.split(ROWS), strict=True):
        squared = distances(part, fake)
        inside = squared < reach[:, None]
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((squared < fake_radii).any(1))
    return {
        "precision": float((balls > 0).double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(balls.double().mean() / nearest),
        "coverage": float(torch.cat(covered).double().mean()),
    }


def _features(count: int, width: int, seed: int) -> Tensor:
    """Rectified mixtures (N, D), as the pooled features of a network are, float32."""
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(0)) / width**0.5
    noise = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return (noise @ mixing + 0.05 * seed).relu()


def _timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    value = compute()
    return value, time.process_time() - started
