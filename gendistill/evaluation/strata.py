"""A squared maximum mean discrepancy from sums of a kernel by class, unbiased for draws that are stratified by class.

The squared MMD of two sets is ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` (Gretton et al. 2012, lemma 6). The usual
estimate takes the mean over pairs and is unbiased where images are drawn independently. A draw with the same number of
every class has too few pairs of one class, in which the kernel is large, so that two such draws of one set of real
images come out below 0. Here the mean is taken for each pair of classes (c, c') and weighted by their shares:

    E k(x, x') = sum over c, c' of p_c p_c' mean of k(x, x') for x of c and x' of c',

where the mean of one class with itself leaves out each image with itself. That is unbiased for stratified and for
independent draws. With one class it is the usual estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Estimator = Literal["stratified", "iid"]


@dataclass(frozen=True)
class Within:
    """The kernel inside one set, which does not depend on what it is compared with.

    Attributes:
        classes: (N,) class of each image, sorted.
        sums: (N, K) sum over the images of each class, the image itself included.
        diagonal: (N,) kernel of each image with itself.
    """

    classes: Tensor
    sums: Tensor
    diagonal: Tensor


@dataclass(frozen=True)
class Between:
    """The kernel between two sets.

    Attributes:
        rows: (N, K) for each image of the first set, the sum over those of each class of the second.
        columns: (M, K) for each of the second set, the sum over those of each class of the first.
        same: (S, 2) places of images of both sets that are one and the same image.
        same_kernel: (S,) their kernel.
    """

    rows: Tensor
    columns: Tensor
    same: Tensor
    same_kernel: Tensor

    def swapped(self) -> Between:
        """Return the same with the two sets exchanged."""
        return Between(self.columns, self.rows, self.same.flip(1), self.same_kernel)


def squared_mmd(
    first: Within, second: Within, pairs: Between, shares: Tensor, *, estimator: Estimator = "stratified"
) -> dict[str, Any]:
    """Return the squared MMD and its standard error.

    Both sides are weighted alike, by ``shares``, over the classes that each has. A class with one image has no pair
    with itself. Such pairs of classes are left out on both sides and between them, which keeps the estimate at 0 for
    two draws of one distribution, and the rest is weighted up. Where the two sets have no class in common, all images
    are taken as one class.

    Args:
        first: The first set.
        second: The reference.
        pairs: Between the two.
        shares: (K,) weights of the classes, not negative.
        estimator: What it is called: ``iid`` where all images are one class for want of classes.

    Returns:
        ``value`` (NaN where no pair of classes can be compared); ``std``: its standard error for other images of both
        sides, by the jackknife within each class. It is right where the sets differ, and about 1.4 times too large
        where they do not, more with few images a class. A class with fewer than three images is given the mean spread
        of the others; None where all are such, or both sets are the same images. ``estimator``: ``stratified`` or
        ``iid``. ``class_pairs``: the share by weight of the pairs of classes that were compared, 1 as a rule.

    Source:
        Efron & Stein 1981 for the jackknife's bias upwards.
    """
    count = len(shares)
    n, m = (torch.bincount(one.classes, minlength=count).double() for one in (first, second))
    there = shares.to(torch.float64) * (m > 0)
    if not float((there * (n > 0)).sum()) > 0:
        one = torch.ones(1, dtype=torch.float64)
        return squared_mmd(_merged(first), _merged(second), _merged_pairs(pairs), one, estimator="iid")
    a, b = (weights / weights.sum() for weights in (there * (n > 0), there))
    places = pairs.same[:, 0], pairs.same[:, 1]
    kinds = first.classes[places[0]], second.classes[places[1]]
    mine = _Side(first, n, a, pairs.rows, m, b, (places[0], kinds[1]), pairs.same_kernel)
    real = _Side(second, m, b, pairs.columns, n, a, (places[1], kinds[0]), pairs.same_kernel)
    terms = (
        (a.outer(a), mine.by_class(mine.own), mine.by_class(mine.own_counts)),
        (b.outer(b), real.by_class(real.own), real.by_class(real.own_counts)),
        (a.outer(b), mine.by_class(mine.cross), mine.by_class(mine.cross_counts)),
    )
    lacking = torch.stack([(weight > 0) & (counts <= 0) for weight, _, counts in terms]).any(0)
    used = (~(lacking | lacking.T)).to(torch.float64)
    covered = float((terms[1][0] * used).sum())
    if not covered > 0:
        return {"value": math.nan, "std": None, "estimator": estimator, "class_pairs": 0.0}
    xx, yy, xy = (float((used * weight * sums / counts.clamp(min=1)).sum()) for weight, sums, counts in terms)
    variance = _variance(mine, real, used, places)
    return {
        "value": (xx + yy - 2 * xy) / covered,
        "std": None if variance is None else math.sqrt(variance) / covered,
        "estimator": estimator,
        "class_pairs": covered,
    }


class _Side:
    """One of the two sets: sums of the kernel of its images with its own others, and with those of the other set.

    Args:
        inside: The set.
        counts: (K,) its images of each class.
        weights: (K,) of the classes.
        sums: (N, K) kernel with the other set.
        other_counts: (K,) images of the other set.
        other_weights: (K,) its weights.
        taken: Place in this set, and class in the other, of each pair that is one and the same image.
        kernel: (S,) of these pairs.
    """

    def __init__(
        self,
        inside: Within,
        counts: Tensor,
        weights: Tensor,
        sums: Tensor,
        other_counts: Tensor,
        other_weights: Tensor,
        taken: tuple[Tensor, Tensor],
        kernel: Tensor,
    ) -> None:
        self.classes, self.counts, self.weights, self.other_weights = inside.classes, counts, weights, other_weights
        self.itself = torch.nn.functional.one_hot(inside.classes, len(counts)).to(torch.float64)
        self.own, self.own_counts = inside.sums - self.itself * inside.diagonal[:, None], counts - self.itself
        self.cross = sums.index_put(taken, -kernel, accumulate=True)
        self.cross_counts = other_counts.expand_as(sums).index_put(taken, -torch.ones_like(kernel), accumulate=True)

    def by_class(self, values: Tensor) -> Tensor:
        """Return values (N, K) added up over the images of each class (K, K)."""
        return torch.zeros(len(self.counts), values.shape[1], dtype=torch.float64).index_add(0, self.classes, values)

    def moves(self, used: Tensor) -> Tensor:
        """Return by how much the estimate falls when each image (N,) is left out."""
        weights = self.weights[self.classes][:, None] * used[self.classes]
        # Without image i the mean S / n of a pair of classes is (S - S_i) / (n - n_i), which is lower by
        # (S_i - n_i S / n) / (n - n_i). Within a class every pair is counted from both its images.
        own = self._left_out(self.own, self.own_counts, 1 + self.itself) * self.weights
        cross = self._left_out(self.cross, self.cross_counts, 1) * self.other_weights
        return 2 * (weights * (own - cross)).sum(1)

    def _left_out(self, sums: Tensor, counts: Tensor, times: Tensor | int) -> Tensor:
        total = self.by_class(counts)
        means = self.by_class(sums) / total.clamp(min=1)
        left = total[self.classes] - times * counts
        return (sums - counts * means[self.classes]) / left.clamp(min=1)


def _variance(mine: _Side, real: _Side, used: Tensor, places: tuple[Tensor, Tensor]) -> float | None:
    """Return the jackknife's variance of the estimate, None where it is not known."""
    if all(len(at.unique()) == len(side.classes) for at, side in zip(places, (mine, real), strict=True)):
        return None  # the same images on both sides: nothing can vary
    total, scaled = 0.0, []
    for side in (mine, real):
        counts, present = side.counts, side.weights > 0
        # With one of two images left out, the mean within their class is of no pair.
        known = present & (counts > torch.where(used.diagonal() > 0, 2, 1))
        if not bool(known.any()):
            return None
        moves = side.moves(used)
        means = side.by_class(moves[:, None])[:, 0] / counts.clamp(min=1)
        parts = (moves - means[side.classes]) * (1 - 1 / counts[side.classes]).sqrt() * known[side.classes]
        spread = side.by_class(parts.square()[:, None])[:, 0]
        # What is not known of a class is taken from the others: the mean of what one image's weight varies by.
        each = (spread * counts / side.weights.square())[known].mean()
        others = present & ~known
        total += float(spread.sum() + (each * side.weights.square() / counts)[others].sum())
        scaled.append(parts)
    # An image of both sets moves both sides at once.
    total += float(2 * (scaled[0][places[0]] * scaled[1][places[1]]).sum())
    return max(total, 0.0)


def _merged(one: Within) -> Within:
    return Within(torch.zeros_like(one.classes), one.sums.sum(1, keepdim=True), one.diagonal)


def _merged_pairs(pairs: Between) -> Between:
    rows, columns = (sums.sum(1, keepdim=True) for sums in (pairs.rows, pairs.columns))
    return Between(rows, columns, pairs.same, pairs.same_kernel)
