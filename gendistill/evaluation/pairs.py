"""One pass over the pairs of images that serves KID and the scores of neighbours alike.

Both need the products of all features: of the teacher's images with each other, of the real ones with each other, and
between the two. Each product is made once. What the real images say among themselves depends on no teacher and is kept
(:mod:`gendistill.evaluation.statistics`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from gendistill.evaluation.gram import Points, blocks, blocks_within, kernel_of_pairs, kernels, squared_distances
from gendistill.evaluation.kernel import Runs, SumsBetween, SumsWithin, between, moved
from gendistill.evaluation.neighbours import Balls, BallSearch, Encounters
from gendistill.evaluation.strata import Within, squared_mmd


@dataclass(frozen=True)
class RealPairs:
    """The real side of a comparison of pairs, in order of the classes.

    Attributes:
        order: (M,) where each image was before.
        centre: (D,) their mean.
        points: Features about their mean.
        runs: Their classes.
        within: The kernel inside.
        balls: The balls around them.
    """

    order: Tensor
    centre: Tensor
    points: Points
    runs: Runs
    within: Within
    balls: Balls

    @classmethod
    def of(cls, features: Tensor, classes: Tensor, count: int, nearest: int) -> Self:
        """Compute it.

        Args:
            features: (M, D), M at least 2.
            classes: (M,) class indices.
            count: Number of classes K.
            nearest: Which neighbour sets a ball's radius.
        """
        centre = features.to(torch.float64).mean(0)
        order, points, runs = _sorted(features, classes, count, centre)
        sums, search = SumsWithin(runs), BallSearch(points, nearest)
        for rows, later, products in blocks_within(points):
            sums.add(rows, kernels(points, rows, later, products))
            search.add(rows, squared_distances(points, rows, later, products))
        within = Within(runs.classes, sums.rows, kernel_of_pairs(points, points))
        return cls(order, centre, points, runs, within, search.balls())

    def tensors(self) -> dict[str, Tensor]:
        """Return what :meth:`restored` needs beside the features."""
        return {
            "sums": self.within.sums,
            "diagonal": self.within.diagonal,
            "reach": self.balls.reach,
            "different": self.balls.different,
            "nearest": torch.tensor(self.balls.nearest),
        }

    @classmethod
    def restored(cls, features: Tensor, classes: Tensor, count: int, kept: Mapping[str, Tensor]) -> Self | None:
        """Return what :meth:`tensors` gave, or None where it cannot be of these features."""
        size = len(features)
        shapes = {"sums": (size, count), "diagonal": (size,), "reach": (size,), "different": (size,), "nearest": ()}
        if {name: tuple(value.shape) for name, value in kept.items()} != shapes:
            return None
        if not all(bool(kept[name].isfinite().all()) for name in ("sums", "diagonal", "reach")):
            return None
        centre = features.to(torch.float64).mean(0)
        order, points, runs = _sorted(features, classes, count, centre)
        within = Within(runs.classes, kept["sums"], kept["diagonal"])
        balls = Balls(kept["reach"], kept["different"], int(kept["nearest"]))
        return cls(order, centre, points, runs, within, balls)


def compare_pairs(
    real: RealPairs,
    features: Tensor,
    classes: Tensor,
    draws: Sequence[Tensor],
    *,
    shares: Tensor,
    same: Tensor,
    nearest: int,
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Compare a teacher's images with the real ones.

    Args:
        real: The real side.
        features: (N, D) of the teacher's images, N at least 2.
        classes: (N,) class indices.
        draws: Places of the images of each draw that is scored by its neighbours.
        shares: (K,) weights of the classes in KID.
        same: (S, 2) places of a teacher's image and of a real one, in their own order, that are one and the same.
        nearest: Which neighbour sets a ball's radius.

    Returns:
        KID of all images, see :func:`gendistill.evaluation.strata.squared_mmd`; and the scores of each draw, see
        :func:`gendistill.evaluation.neighbours.neighbour_scores`.
    """
    order, points, runs = _sorted(features, classes, real.runs.count, real.centre)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    members = [place[index].sort().values for index in draws]
    within, balls = _inside(points, runs, members, nearest)
    sums = SumsBetween(real.runs, runs)
    encounters = Encounters(real.balls, len(points), list(zip(members, balls, strict=True)))
    for rows, products in blocks(real.points, points):
        sums.add(rows, kernels(real.points, rows, points, products))
        encounters.add(rows, squared_distances(real.points, rows, points, products))
    pairs = between(sums, real.points, points, moved(same.flip(1), real.order, order))
    return squared_mmd(within, real.within, pairs.swapped(), shares), encounters.scores()


def _inside(points: Points, runs: Runs, draws: Sequence[Tensor], nearest: int) -> tuple[Within, list[Balls]]:
    """Return the kernel inside a set, and the balls around the images of each draw from it."""
    sums, searches = SumsWithin(runs), [BallSearch(points.at(members), nearest) for members in draws]
    for rows, later, products in blocks_within(points):
        sums.add(rows, kernels(points, rows, later, products))
        squared = squared_distances(points, rows, later, products)
        for members, search in zip(draws, searches, strict=True):
            if len(members) == len(points):
                search.add(rows, squared)
                continue
            start, end = (int(at) for at in torch.searchsorted(members, torch.tensor([rows.start, rows.stop])))
            if start < end:
                at = members[start:] - rows.start
                search.add(slice(start, end), squared[at[: end - start]][:, at])
    within = Within(runs.classes, sums.rows, kernel_of_pairs(points, points))
    return within, [search.balls() for search in searches]


def _sorted(features: Tensor, classes: Tensor, count: int, centre: Tensor) -> tuple[Tensor, Points, Runs]:
    order = classes.argsort(stable=True)
    return order, Points.of(features[order], centre), Runs(classes[order], count)
