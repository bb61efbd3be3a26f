"""Precision, recall, density and coverage: fidelity and diversity apart, from nearest neighbours in feature space.

A ball around each image reaches to its k-th neighbour within its own set, without that neighbour, as in the public code
of Naeem et al. 2020. Neighbours are counted among *different* images: where images repeat, the nearest others are
copies at distance 0, whose ball would hold nothing. Without copies nothing changes. An image that is one of the other
set's images is always in that one's ball.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation.checks import check_same_width
from gendistill.evaluation.gram import EQUAL, Points, blocks, blocks_within, squared_distances

SCORES = ("precision", "recall", "density", "coverage")
SMALLEST = torch.finfo(torch.float64).tiny
"""A ball that reaches so far holds what is at distance 0 and nothing else."""


@dataclass(frozen=True)
class Balls:
    """The balls around the images of one set.

    Attributes:
        reach: (N,) squared distance below which another image lies in the ball of each; rounding taken off, so that
            the neighbour that sets it lies outside.
        different: (N,) whether an image is the first of its copies.
        nearest: Which neighbour set the reach: as asked for, or one less than there are different images; at least 1.
    """

    reach: Tensor
    different: Tensor
    nearest: int


class BallSearch:
    """Finds balls from blocks of squared distances within a set.

    Args:
        points: The set, at least 1 point.
        nearest: Which neighbour sets the radius.
    """

    def __init__(self, points: Points, nearest: int) -> None:
        self.points, self.nearest = points, nearest
        # The nearest of all is the image itself, at distance 0.
        self.least = torch.full((len(points), min(nearest + 1, len(points))), torch.inf, dtype=torch.float64)
        self.first = torch.arange(len(points))

    def add(self, rows: slice, squared: Tensor) -> None:
        """Take in the squared distances (B, N - start) of some points to all from the first of them on."""
        size = rows.stop - rows.start
        self._merge(rows, squared)
        earlier = squared.T.contiguous()  # of each later point, and of the rows themselves, to the rows
        copied = (earlier == 0).sum(1)
        copied[:size] -= 1
        if bool((copied > 0).any()):
            places = torch.arange(rows.start, rows.stop)
            found = copied.nonzero().flatten()
            first = places.where(earlier[found] == 0, len(self.points)).min(1).values
            self.first[rows.start + found] = torch.minimum(self.first[rows.start + found], first)
        if size < len(earlier):
            self._merge(slice(rows.stop, len(self.points)), earlier[size:])

    def _merge(self, rows: slice, squared: Tensor) -> None:
        count = self.least.shape[1]
        new = squared.topk(min(count, squared.shape[1]), largest=False).values
        self.least[rows] = torch.cat((self.least[rows], new), 1).topk(count, largest=False).values

    def balls(self) -> Balls:
        """Return the balls; where there are copies, among the different images."""
        count = len(self.points)
        different = self.first == torch.arange(count)
        others = different.nonzero().flatten()
        nearest = min(self.nearest, len(others) - 1)
        squared = self.least[:, -1].clone()
        if nearest == 0:
            squared.zero_()
        elif len(others) < count:
            kept = self.points.at(others)
            for rows, products in blocks(self.points, kept):
                distances = squared_distances(self.points, rows, kept, products)
                squared[rows] = distances.topk(nearest + 1, largest=False).values[:, -1]
        # An image at the edge is as long as the one in the middle and the radius together, at the most.
        scale = self.points.norms + (self.points.norms.sqrt() + squared.sqrt()).square()
        return Balls((squared - EQUAL * scale).clamp(min=SMALLEST), different, max(nearest, 1))


class Encounters:
    """Who lies in whose ball, gathered from blocks of squared distances between two sets.

    Args:
        real: Balls of the M real images.
        fake_count: Number of fake images N.
        draws: Sets of fake images that are scored: their places, in order, and their balls.
    """

    def __init__(self, real: Balls, fake_count: int, draws: Sequence[tuple[Tensor, Balls]]) -> None:
        self.real, self.draws = real, draws
        self.inside = torch.zeros(fake_count, dtype=torch.int64)
        count = len(real.reach)
        self.covered = torch.zeros(len(draws), count, dtype=torch.bool)
        self.recalled = torch.zeros(len(draws), count, dtype=torch.bool)

    def add(self, rows: slice, squared: Tensor) -> None:
        """Take in the squared distances (B, N) of some real images to all fake ones."""
        within, different = squared < self.real.reach[rows, None], self.real.different[rows]
        self.inside += (within if bool(different.all()) else within[different]).sum(0)
        for place, (members, balls) in enumerate(self.draws):
            whole = len(members) == squared.shape[1]
            self.covered[place, rows] = (within if whole else within[:, members]).any(1)
            self.recalled[place, rows] = ((squared if whole else squared[:, members]) < balls.reach).any(1)

    def scores(self) -> list[dict[str, float]]:
        """Return the four scores of each draw, and ``nearest`` and ``recall_nearest`` as used."""
        found = []
        for place, (members, balls) in enumerate(self.draws):
            inside = self.inside[members]
            found.append(
                {
                    "precision": float((inside > 0).double().mean()),
                    "recall": float(self.recalled[place].double().mean()),
                    "density": float(inside.double().mean() / self.real.nearest),
                    "coverage": float(self.covered[place].double().mean()),
                    "nearest": self.real.nearest,
                    "recall_nearest": balls.nearest,
                }
            )
        return found


def neighbour_scores(real: Tensor, fake: Tensor, *, nearest: int = 5) -> dict[str, float]:
    """Return improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Args:
        real: (M, D) features of real images, M at least 2.
        fake: (N, D) features of the teacher's images, N at least 2.
        nearest: Which neighbour sets the radius. Kynkäänniemi et al. take 3, Naeem et al. 5.

    Returns:
        ``precision``: fraction of fake images in the ball of some real image; ``recall``: fraction of real images in
        the ball of some fake image; ``density``: balls of different real images around a fake one, divided by
        ``nearest`` (may exceed 1); ``coverage``: fraction of real images with a fake image in their ball; ``nearest``
        as used for the real balls and ``recall_nearest`` for the fake ones: one less than there are different images
        where these are fewer.

    Raises:
        UserError: The widths differ, a set has fewer than 2 images, values are not finite, or ``nearest`` is not
            positive.
    """
    real, fake = check_same_width("a score of neighbours", real, fake, ("real", "fake"))
    if nearest < 1:
        raise UserError(f"a score of neighbours needs nearest of at least 1, got {nearest}")
    centre = real.mean(0)
    # The scores do not depend on the scale, but squares of tiny numbers would be 0.
    scale = 2.0 ** min(1000, -math.frexp(max(float((one - centre).abs().max()) for one in (real, fake)))[1])
    first, second = (Points.of((one - centre) * scale, torch.zeros_like(centre)) for one in (real, fake))
    drawn = [(torch.arange(len(second)), balls(second, nearest))]
    encounters = Encounters(balls(first, nearest), len(second), drawn)
    for rows, products in blocks(first, second):
        encounters.add(rows, squared_distances(first, rows, second, products))
    return encounters.scores()[0]


def balls(points: Points, nearest: int) -> Balls:
    """Return the balls around the images of one set, each to the ``nearest``-th different other image."""
    search = BallSearch(points, nearest)
    for rows, later, products in blocks_within(points):
        search.add(rows, squared_distances(points, rows, later, products))
    return search.balls()
