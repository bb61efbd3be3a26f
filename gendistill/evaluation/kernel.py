"""The kernel distance (KID): an unbiased squared maximum mean discrepancy that is right for small sets too."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError

ROWS = 2048
"""Rows of a kernel matrix held at a time."""


def kernel_distance(
    first: Tensor,
    second: Tensor,
    generator: torch.Generator,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
) -> dict[str, float]:
    """Return the unbiased squared MMD with the kernel ``(x·y / D + 1)³``, as mean and spread over random subsets.

    The mean over subsets estimates the same quantity as the whole sets; the spread says how much a set of
    ``subset_size`` images varies. Section 4 of Binkowski et al. 2018.

    Args:
        first: (N, D) features, N at least 2.
        second: (M, D) features, M at least 2.
        generator: Draws the subsets (CPU).
        subsets: Number of subsets.
        subset_size: Images of each side in a subset, without replacement; never more than the smaller set has.

    Returns:
        ``mean`` and ``std`` over the subsets, ``value`` from all images at once, ``subsets`` and ``subset_size`` used.

    Raises:
        UserError: The widths differ, or a set or ``subset_size`` is smaller than 2.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise UserError(f"KID needs features (N, D) and (M, D), got {tuple(first.shape)} and {tuple(second.shape)}")
    if subsets < 1 or subset_size < 2:
        raise UserError(f"KID needs at least 1 subset of at least 2 images, got {subsets} of {subset_size}")
    if min(len(first), len(second)) < 2:
        raise UserError(f"KID needs at least 2 images on each side, got {len(first)} and {len(second)}")
    first, second = first.to(torch.float64), second.to(torch.float64)
    size = min(subset_size, len(first), len(second))
    # A subset is a row of zeros and ones, so its mean kernel value is a quadratic form. All subsets share one pass over
    # the kernel matrix, and a last row of ones gives the estimate from the whole sets.
    members1 = _members(len(first), subsets, size, generator).to(first.device)
    members2 = _members(len(second), subsets, size, generator).to(first.device)
    estimates = (
        _within(first, members1)
        + _within(second, members2)
        - 2 * _between(first, second, members1, members2) / (members1.sum(1) * members2.sum(1))
    )
    chosen = estimates[:-1]
    return {
        "value": float(estimates[-1]),
        "mean": float(chosen.mean()),
        "std": float(chosen.std()) if subsets > 1 else 0.0,
        "subsets": subsets,
        "subset_size": size,
    }


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1).pow_(3)


def _members(count: int, subsets: int, size: int, generator: torch.Generator) -> Tensor:
    """Indicator rows (subsets + 1, count): random subsets of ``size``, then everything."""
    members = torch.zeros(subsets + 1, count, dtype=torch.float64)
    for row in members[:-1]:
        row[torch.randperm(count, generator=generator)[:size]] = 1
    members[-1] = 1
    return members


def _between(first: Tensor, second: Tensor, members1: Tensor, members2: Tensor) -> Tensor:
    """Sum of kernel values over all pairs (i, j) of each subset (S,)."""
    total = torch.zeros(len(members1), dtype=torch.float64, device=first.device)
    for start in range(0, len(first), ROWS):
        rows = slice(start, start + ROWS)
        total += ((members1[:, rows] @ _kernel(first[rows], second)) * members2).sum(1)
    return total


def _within(features: Tensor, members: Tensor) -> Tensor:
    """Mean of kernel values over the pairs i != j of each subset (S,)."""
    diagonal = (features.square().sum(1) / features.shape[1] + 1).pow(3)
    counts = members.sum(1)
    return (_between(features, features, members, members) - members @ diagonal) / (counts * (counts - 1))
