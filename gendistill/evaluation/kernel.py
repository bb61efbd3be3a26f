"""The kernel distance (KID): an unbiased squared maximum mean discrepancy that is right for small sets too.

The kernel is ``(x·y / D + 1)³``, section 4 of Binkowski et al. 2018. Sums of it are gathered by class;
:mod:`gendistill.evaluation.strata` makes the estimate of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation.checks import check_same_width
from gendistill.evaluation.gram import Points, blocks, blocks_within, kernel_of_pairs, kernels
from gendistill.evaluation.strata import Between, Estimator, Within, squared_mmd


class Runs:
    """Points in order of their classes, so that each class is one run.

    Args:
        classes: (N,) int64 class of each point, sorted.
        count: Number of classes K.
    """

    def __init__(self, classes: Tensor, count: int) -> None:
        self.classes = classes
        self.counts = torch.bincount(classes, minlength=count)
        ends = self.counts.cumsum(0)
        self.spans = [
            (label, end - size, end)
            for label, (size, end) in enumerate(zip(self.counts.tolist(), ends.tolist(), strict=True))
            if size
        ]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def count(self) -> int:
        """Number of classes K."""
        return len(self.counts)

    def among(self, rows: slice) -> list[tuple[int, int, int]]:
        """Return the classes of some rows, each with its run among them."""
        return [
            (label, max(start, rows.start) - rows.start, min(end, rows.stop) - rows.start)
            for label, start, end in self.spans
            if start < rows.stop and end > rows.start
        ]


class SumsWithin:
    """Sums of the kernel by class inside one set, gathered block by block.

    Attributes:
        rows: (N, K) for each point, over the points of each class.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.rows = torch.zeros(len(runs), runs.count, dtype=torch.float64)

    def add(self, rows: slice, values: Tensor) -> None:
        """Take in the kernel (B, N - start) of some rows with all points from the first of them on."""
        for label, start, end in self.runs.among(slice(rows.start, len(self.runs))):
            self.rows[rows, label] += values[:, start:end].sum(1)
        later = values[:, rows.stop - rows.start :]
        for label, start, end in self.runs.among(rows):
            self.rows[rows.stop :, label] += later[start:end].sum(0)


class SumsBetween:
    """Sums of the kernel by class between two sets, gathered block by block.

    Attributes:
        rows: (N, K) for each of the first points, over the second ones of each class.
        columns: (M, K) for each of the second points, over the first ones of each class.
    """

    def __init__(self, first: Runs, second: Runs) -> None:
        self.first, self.second = first, second
        self.rows = torch.zeros(len(first), second.count, dtype=torch.float64)
        self.columns = torch.zeros(len(second), first.count, dtype=torch.float64)

    def add(self, rows: slice, values: Tensor) -> None:
        """Take in the kernel (B, M) of some of the first points with all of the second."""
        for label, start, end in self.second.spans:
            self.rows[rows, label] = values[:, start:end].sum(1)
        for label, start, end in self.first.among(rows):
            self.columns[:, label] += values[start:end].sum(0)


def kernel_distance(
    first: Tensor,
    second: Tensor,
    *,
    first_classes: Tensor | None = None,
    second_classes: Tensor | None = None,
    shares: Tensor | None = None,
    same: Tensor | None = None,
) -> dict[str, Any]:
    """Return the unbiased squared MMD with the kernel ``(x·y / D + 1)³`` and its standard error.

    Args:
        first: (N, D) features, N at least 2.
        second: (M, D) features, M at least 2: the reference.
        first_classes: (N,) class indices; give those of both sides or of none, for the usual estimate.
        second_classes: (M,) class indices.
        shares: (K,) weights of the classes on both sides; None: their shares in the reference.
        same: (S, 2) places of images of both sides that are one and the same image. Such a pair is no pair of
            independent images and is left out, as each image with itself is within a set.

    Returns:
        See :func:`gendistill.evaluation.strata.squared_mmd`.

    Raises:
        UserError: The widths differ, a set has fewer than 2 images, values are not finite, classes are not those of
            the features, or ``shares`` or ``same`` are none.
    """
    first, second = check_same_width("KID", first, second)
    if (first_classes is None) != (second_classes is None):
        raise UserError("KID takes the classes of both sides or of none")
    estimator: Estimator = "iid" if first_classes is None else "stratified"
    kinds1 = _classes("first", first, first_classes)
    kinds2 = _classes("second", second, second_classes)
    count = 1 + max(int(kinds1.max()), int(kinds2.max())) if shares is None else len(shares)
    if max(int(kinds1.max()), int(kinds2.max())) >= count:
        raise UserError(f"KID was given shares of {count} classes, but classes up to {count}")
    if shares is None:
        shares = torch.bincount(kinds2, minlength=count)
    order1, order2 = kinds1.argsort(stable=True), kinds2.argsort(stable=True)
    centre = second.mean(0)
    points1, points2 = Points.of(first[order1], centre), Points.of(second[order2], centre)
    runs1, runs2 = Runs(kinds1[order1], count), Runs(kinds2[order2], count)
    sums = SumsBetween(runs1, runs2)
    for rows, products in blocks(points1, points2):
        sums.add(rows, kernels(points1, rows, points2, products))
    pairs = moved(same, order1, order2)
    return squared_mmd(
        within(points1, runs1),
        within(points2, runs2),
        between(sums, points1, points2, pairs),
        shares,
        estimator=estimator,
    )


def within(points: Points, runs: Runs) -> Within:
    """Return the kernel inside one set, whose points are in order of their classes."""
    sums = SumsWithin(runs)
    for rows, later, products in blocks_within(points):
        sums.add(rows, kernels(points, rows, later, products))
    return Within(runs.classes, sums.rows, kernel_of_pairs(points, points))


def between(sums: SumsBetween, first: Points, second: Points, same: Tensor) -> Between:
    """Return the kernel between two sets from its sums; ``same`` (S, 2) are places of one and the same image."""
    return Between(sums.rows, sums.columns, same, kernel_of_pairs(first.at(same[:, 0]), second.at(same[:, 1])))


def _classes(name: str, features: Tensor, classes: Tensor | None) -> Tensor:
    if classes is None:
        return torch.zeros(len(features), dtype=torch.int64)
    if classes.shape != (len(features),) or classes.is_floating_point() or int(classes.min()) < 0:
        raise UserError(
            f"the classes of the {name} features must be {len(features)} whole numbers from 0, got "
            f"{str(classes.dtype).removeprefix('torch.')} of shape {tuple(classes.shape)}"
        )
    return classes.to("cpu", torch.int64)


def moved(same: Tensor | None, first: Tensor, second: Tensor) -> Tensor:
    """Return the pairs of places (S, 2) as places in two orders (N,), (M,) of the images."""
    if same is None:
        return torch.empty(0, 2, dtype=torch.int64)
    if same.ndim != 2 or same.shape[1] != 2 or same.is_floating_point():
        raise UserError(f"same must be pairs of places (S, 2), whole numbers, got shape {tuple(same.shape)}")
    beyond = (same < 0) | (same >= torch.tensor([len(first), len(second)], device=same.device))
    if bool(beyond.any()):
        raise UserError(f"same names places that are none of {len(first)} and {len(second)} images, counted from 0")
    to1, to2 = (torch.empty_like(order).scatter_(0, order, torch.arange(len(order))) for order in (first, second))
    return torch.stack((to1[same[:, 0]], to2[same[:, 1]]), 1)
