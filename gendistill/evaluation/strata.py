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

from gendistill.errors import UserError

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

    Raises:
        UserError: ``shares`` are no weights.

    Source:
        Efron & Stein 1981 for the jackknife's bias upwards.
    """
    if not bool((torch.isfinite(shares) & (shares >= 0)).all()) or not float(shares.sum()) > 0:
        raise UserError(f"shares are {shares.tolist()}; give weights of at least 0 that are finite, and not all 0")
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
        (a.outer(a), mine.own, mine.own_pairs),
        (b.outer(b), real.own, real.own_pairs),
        (a.outer(b), mine.cross, mine.cross_pairs),
    )
    lacking = torch.stack([(weight > 0) & (number <= 0) for weight, _, number in terms]).any(0)
    used = (~(lacking | lacking.T)).to(torch.float64)
    covered = float((terms[1][0] * used).sum())
    if not covered > 0:
        return {"value": math.nan, "std": None, "estimator": estimator, "class_pairs": 0.0}
    xx, yy, xy = (float((used * weight * sums / number.clamp(min=1)).sum()) for weight, sums, number in terms)
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
        self.inside, self.classes, self.counts, self.weights = inside, inside.classes, counts, weights
        self.sums, self.other_counts, self.other_weights = sums, other_counts, other_weights
        self.taken, self.kernel = taken, kernel
        kinds = inside.classes[taken[0]], taken[1]
        # Sums and numbers of pairs by class (K, K), without an image with itself and without pairs of one image.
        self.own = self.by_class(inside.sums) - self.by_class(inside.diagonal[:, None])[:, 0].diag()
        self.own_pairs = counts.outer(counts) - counts.diag()
        self.cross = self.by_class(sums).index_put(kinds, -kernel, accumulate=True)
        self.cross_pairs = counts.outer(other_counts).index_put(kinds, -torch.ones_like(kernel), accumulate=True)

    def by_class(self, values: Tensor) -> Tensor:
        """Return values (N, V) added up over the images of each class (K, V)."""
        return torch.zeros(len(self.counts), values.shape[1], dtype=torch.float64).index_add(0, self.classes, values)

    def moves(self, used: Tensor) -> Tensor:
        """Return by how much the estimate falls when each image (N,) is left out.

        Without image i the mean S / n of a pair of classes is (S - S_i) / (n - n_i), which is lower by
        (S_i - n_i S / n) / (n - n_i). Within a class every pair is counted from both its images.
        """
        found, end = torch.zeros(len(self.classes), dtype=torch.float64), 0
        for label, size in enumerate(self.counts.long().tolist()):
            rows, end = slice(end, end + size), end + size
            if not size or not float(self.weights[label]):
                continue
            itself = torch.zeros(len(self.counts), dtype=torch.float64)
            itself[label] = 1
            own = self.inside.sums[rows] - itself * self.inside.diagonal[rows, None]
            own = _left_out(own, self.counts - itself, self.own[label], self.own_pairs[label], 1 + itself)
            here = (self.taken[0] >= rows.start) & (self.taken[0] < rows.stop)
            at, kernel = (self.taken[0][here] - rows.start, self.taken[1][here]), self.kernel[here]
            cross = self.sums[rows].index_put(at, -kernel, accumulate=True)
            number = self.other_counts.expand_as(cross).index_put(at, -torch.ones_like(kernel), accumulate=True)
            cross = _left_out(cross, number, self.cross[label], self.cross_pairs[label], torch.ones_like(itself))
            parts = used[label] * (own * self.weights - cross * self.other_weights)
            found[rows] = 2 * self.weights[label] * parts.sum(1)
        return found


def _left_out(sums: Tensor, number: Tensor, total: Tensor, pairs: Tensor, times: Tensor) -> Tensor:
    """Return by how much the mean kernel of each pair of classes (B, K) falls when an image of one class is left out.

    Args:
        sums: (B, K) of the images' own pairs.
        number: Number of these, (K,) or (B, K).
        total: (K,) sum of all pairs.
        pairs: (K,) number of all.
        times: (K,) how often a pair is counted.
    """
    return (sums - number * total / pairs.clamp(min=1)) / (pairs - times * number).clamp(min=1)


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
