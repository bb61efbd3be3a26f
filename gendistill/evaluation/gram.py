"""Products of all pairs of two sets of features, a block of rows at a time, and the distances that they give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

VALUES = 2**20
"""Numbers of a block (8 MiB); a few are held at a time. Larger ones leave the cache, smaller ones multiply slowly."""

EQUAL = 1e-12
"""Squared distances below this fraction of the squared norms are rounding, not distance (float64).

Copies of one image that an extractor saw in two batches differ by about 1e-7 of their length, which this covers.
"""


@dataclass(frozen=True)
class Points:
    """Features about a centre, divided by the root of their number.

    A common shift changes no distance and keeps the products small; a common scale changes no comparison.

    Attributes:
        values: (N, D) float64.
        norms: (N,) their squared lengths.
        lifts: (N,) what is added to a product of two such vectors, one lift each, to make it ``x·y / D + 1`` of the
            features x and y.
    """

    values: Tensor
    norms: Tensor
    lifts: Tensor

    @classmethod
    def of(cls, features: Tensor, centre: Tensor) -> Points:
        """Return features (N, D) about a centre (D,)."""
        root = features.shape[1] ** 0.5
        centre = centre.to(torch.float64) / root
        values = features.to(torch.float64) / root - centre
        return cls(values, values.square().sum(1), values @ centre + (centre.square().sum() + 1) / 2)

    def __len__(self) -> int:
        return len(self.norms)

    def since(self, start: int) -> Points:
        """Return the points from a place on."""
        return Points(self.values[start:], self.norms[start:], self.lifts[start:])

    def at(self, index: Tensor) -> Points:
        """Return the points at places (B,)."""
        return Points(self.values[index], self.norms[index], self.lifts[index])


def blocks(first: Points, second: Points) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of ``first`` and their products (B, M) with all of ``second``."""
    step = max(1, VALUES // len(second))
    for start in range(0, len(first), step):
        rows = slice(start, min(start + step, len(first)))
        yield rows, first.values[rows] @ second.values.T


def blocks_within(points: Points) -> Iterator[tuple[slice, Points, Tensor]]:
    """Yield rows, all points from the first of them on, and the products of the two (B, N - start).

    A product of two points is made once, but for the rows of a block among themselves.
    """
    step = max(1, VALUES // len(points))
    for start in range(0, len(points), step):
        rows, later = slice(start, min(start + step, len(points))), points.since(start)
        yield rows, later, points.values[rows] @ later.values.T


def kernels(first: Points, rows: slice, second: Points, products: Tensor) -> Tensor:
    """Return the kernel ``(x·y / D + 1)³`` of each pair (B, M) of KID. Section 4 of Binkowski et al. 2018."""
    values = (products + first.lifts[rows, None]).add_(second.lifts)
    return values.square().mul_(values)


def kernel_of_pairs(first: Points, second: Points) -> Tensor:
    """Return the kernel (N,) of each point of one set with the one at the same place of another."""
    return ((first.values * second.values).sum(1) + first.lifts + second.lifts).pow(3)


def squared_distances(first: Points, rows: slice, second: Points, products: Tensor) -> Tensor:
    """Return the squared distance of each pair (B, M), exactly 0 for equal ones; ``products`` is used up."""
    norms = first.norms[rows, None]
    squared = torch.add(norms + second.norms, products, alpha=-2, out=products)
    # What is left below the rounding of the sum is noise; it would decide at random between copies of one image. Those
    # are of one length, so that the row's alone will do.
    return squared.masked_fill_(squared < 2 * EQUAL * norms, 0)
