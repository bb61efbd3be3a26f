"""The Fréchet distance of this project against ``scipy.linalg.sqrtm``: seconds and error at 2048 dimensions.

Two cases. ``full_rank``: moments of 5,000 images on each side, nothing singular. ``rank_deficient``: 500 images on each
side, so that the covariances are singular; the features are a 400-dimensional problem of full rank turned into 2048
dimensions, whose distance is therefore known.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from gendistill.evaluation.frechet import frechet_distance, frechet_distance_from_features, moments

THREADS = 2


def measure(dimension: int = 2048, many: int = 5000, few: int = 500) -> dict[str, Any]:
    """Return seconds, distances and errors of both implementations.

    Args:
        dimension: Width of the features.
        many: Images a side in the full-rank case, more than ``dimension``.
        few: Images a side in the rank-deficient case, fewer than ``dimension``.
    """
    torch.linalg.eigvalsh(torch.eye(64, dtype=torch.float64))  # the first call loads libraries
    return {"full_rank": _full_rank(dimension, many), "rank_deficient": _rank_deficient(dimension, few)}


def _full_rank(dimension: int, count: int) -> dict[str, Any]:
    first, second = (moments(_features(count, dimension, seed)) for seed in (1, 2))
    ours, our_seconds = _timed(lambda: frechet_distance(*first, *second))
    theirs, their_seconds = _timed(lambda: _with_sqrtm(*first, *second))
    return {
        "dimension": dimension,
        "images": count,
        "distance": ours,
        "seconds": our_seconds,
        "sqrtm_distance": theirs,
        "sqrtm_seconds": their_seconds,
        "speedup": their_seconds / our_seconds,
        "relative_difference": abs(ours - theirs) / theirs,
    }


def _rank_deficient(dimension: int, count: int) -> dict[str, Any]:
    rank = count * 4 // 5
    small = [_features(count, rank, seed) for seed in (1, 2)]
    known = frechet_distance_from_features(*small)
    generator = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(dimension, rank, generator=generator, dtype=torch.float64)).Q
    first, second = (features @ basis.T for features in small)
    ours, our_seconds = _timed(lambda: frechet_distance_from_features(first, second))
    given_moments = (*moments(first), *moments(second))
    by_moments, moments_seconds = _timed(lambda: frechet_distance(*given_moments))
    theirs, their_seconds = _timed(lambda: _with_sqrtm(*given_moments))
    return {
        "dimension": dimension,
        "images": count,
        "rank": rank,
        "known_distance": known,
        "seconds": our_seconds,
        "error": abs(ours - known),
        "from_moments_seconds": moments_seconds,
        "from_moments_error": abs(by_moments - known),
        "sqrtm_seconds": their_seconds,
        "sqrtm_error": abs(theirs - known),
        "speedup": their_seconds / our_seconds,
        "from_moments_speedup": their_seconds / moments_seconds,
    }


def _features(count: int, width: int, seed: int) -> Tensor:
    """Rectified mixtures (N, D), as the pooled features of a network are, float64."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    return (torch.randn(count, width, generator=generator, dtype=torch.float64) @ mixing).relu() + 0.1 * seed


def _with_sqrtm(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a singular matrix may have no root
        root = scipy.linalg.sqrtm(sigma1.numpy() @ sigma2.numpy())
    return float((mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace()) - 2 * float(np.trace(root).real)


def _timed(compute: Callable[[], float]) -> tuple[float, float]:
    started = time.perf_counter()
    value = compute()
    return value, time.perf_counter() - started
