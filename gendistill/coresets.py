"""Coresets: which few of many vectors stand for all of them, chosen in many groups at once.

A group is a class, a batch or a class of a batch. Groups lie side by side in one padded tensor, so that a selection is
a few operations on the device however many groups there are. The first ``n`` of a herding, k-center or random order
are that method's choice of ``n``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.finite import check_finite

ADVICE = "nothing can be near to them or far from them; look at the images and at what made the vectors"

ROUNDS = 100
"""Rounds of k-means at most."""


def grouped(groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the members of every group in the order of their positions.

    Args:
        groups: (N,) group of each item, int64 in 0..count-1.
        count: Number of groups G.

    Returns:
        (G, M) positions, M the size of the largest group, and (G, M) whether a place is taken; others hold 0.
    """
    sizes = torch.bincount(groups, minlength=count)
    order = groups.argsort(stable=True)
    places = torch.arange(int(sizes.max()), device=groups.device)
    valid = places < sizes[:, None]
    starts = sizes.cumsum(0) - sizes
    return order[(starts[:, None] + places).masked_fill(~valid, 0)].masked_fill(~valid, 0), valid


def random_order(valid: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` random places of each group, without repetition.

    Args:
        valid: (G, M) whether a place is taken; a group with fewer than ``count`` members ends in meaningless places.
        count: 1..M.
        generator: Draws, wherever it lives.

    Returns:
        (G, count) places in 0..M-1.
    """
    keys = torch.rand(valid.shape, generator=generator, device=generator.device).to(valid.device)
    return keys.masked_fill(~valid, 2.0).topk(count, dim=1, largest=False).indices


def herding(features: Tensor, valid: Tensor, count: int) -> Tensor:
    """Return the order in which the mean of the chosen comes nearest to the mean of all, one choice after another.

    Algorithm 4, Rebuffi et al. 2017 (iCaRL), which is Welling 2009 without repetition, on the features as they are: the
    t-th choice minimises ``|| mean(all) - mean(chosen so far and this one) ||``. Of equal ones the first is taken.

    Args:
        features: (G, M, D) vectors of each group.
        valid: (G, M) whether a place is taken; a group with fewer than ``count`` members ends in meaningless places.
        count: Places to choose, 1..M.

    Returns:
        (G, count) places in 0..M-1, first choice first.

    Raises:
        UserError: A vector or its squared length is not finite.
    """
    centred = _centred(_checked(features), valid)
    squares = centred.square().sum(-1)
    free, total = valid.clone(), torch.zeros_like(centred[:, 0])
    chosen = []
    for _ in range(count):
        # With the mean at zero: || total + x ||^2, less || total ||^2, which is the same for all x.
        scores = squares + 2 * torch.einsum("gmd,gd->gm", centred, total)
        place = scores.masked_fill(~free, torch.inf).argmin(1)
        chosen.append(place)
        total = total + _at(centred, place)
        free.scatter_(1, place[:, None], False)
    return torch.stack(chosen, 1)


def k_center(features: Tensor, valid: Tensor, count: int) -> Tensor:
    """Return the greedy order in which each choice is the one farthest from all chosen before it.

    Algorithm 1, Sener & Savarese 2018 ("Active Learning for Convolutional Neural Networks: A Core-Set Approach"), from
    nothing: the first is the one nearest to the group's mean. Of equal ones the first is taken.

    Args:
        features: (G, M, D) vectors of each group.
        valid: (G, M) whether a place is taken; a group with fewer than ``count`` members ends in meaningless places.
        count: Places to choose, 1..M.

    Returns:
        (G, count) places in 0..M-1, first choice first.

    Raises:
        UserError: A vector or its squared length is not finite.
    """
    centred = _centred(_checked(features), valid)
    place = centred.square().sum(-1).masked_fill(~valid, torch.inf).argmin(1)
    free, chosen = valid.clone(), [place]
    nearest = torch.full_like(centred[..., 0], torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, (centred - _at(centred, place)[:, None]).square().sum(-1))
        free.scatter_(1, place[:, None], False)
        place = nearest.masked_fill(~free, -1.0).argmax(1)
        chosen.append(place)
    return torch.stack(chosen, 1)


def k_means(
    features: Tensor, valid: Tensor, count: int, generator: torch.Generator, rounds: int = ROUNDS
) -> tuple[Tensor, Tensor]:
    """Return ``count`` centres of each group by Lloyd's algorithm from k-means++.

    A centre that nobody is nearest to stays where it is.

    Args:
        features: (G, M, D) vectors of each group.
        valid: (G, M) whether a place is taken; every group has at least one member.
        count: Centres of each group, at least 1.
        generator: Draws the first centres (Arthur & Vassilvitskii 2007), wherever it lives.
        rounds: Moves of the centres, at most.

    Returns:
        (G, count, D) centres, and (G, M) the centre that each member is nearest to.

    Raises:
        UserError: A vector or its squared length is not finite.
    """
    _checked(features)
    centres = _first_centres(features, valid, count, generator)
    return lloyd(features, valid, centres, rounds)


def lloyd(features: Tensor, valid: Tensor, centres: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """Move centres (G, K, D) to the means of those nearest to them until nobody changes sides; see :func:`k_means`."""
    weights = valid.to(features)[..., None]
    sides = _distances(features, centres).argmin(2)
    for _ in range(rounds):
        index = sides[..., None].expand_as(features)
        sums = torch.zeros_like(centres).scatter_add_(1, index, features * weights)
        sizes = torch.zeros_like(centres[..., :1]).scatter_add_(1, sides[..., None], weights)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        before, sides = sides, _distances(features, centres).argmin(2)
        if torch.equal(before, sides):
            break
    return centres, sides


def nearest_members(features: Tensor, valid: Tensor, centres: Tensor) -> Tensor:
    """Return for each centre the nearest member of its group, no member twice; the first centre chooses first.

    Args:
        features: (G, M, D) vectors of each group.
        valid: (G, M) whether a place is taken.
        centres: (G, K, D), K at most the size of the smallest group.

    Returns:
        (G, K) places in 0..M-1.

    Raises:
        UserError: A vector or centre, or its squared length, is not finite.
    """
    distances = _distances(_checked(features), _checked(centres))
    free, chosen = valid.clone(), []
    for turn in range(centres.shape[1]):
        place = distances[..., turn].masked_fill(~free, torch.inf).argmin(1)
        chosen.append(place)
        free.scatter_(1, place[:, None], False)
    return torch.stack(chosen, 1)


def _first_centres(features: Tensor, valid: Tensor, count: int, generator: torch.Generator) -> Tensor:
    drawn = torch.rand((count, len(features)), generator=generator, device=generator.device).to(features)
    weights = valid.to(features)
    centres = []
    for uniform in drawn:
        # A group all of whose members are centres already has no weight left: any of its members will do.
        weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, valid.to(features))
        sums = weights.cumsum(1)
        place = torch.searchsorted(sums, (uniform * sums[:, -1])[:, None], right=True)[:, 0]
        # uniform * total may round up to the total: then the last member that has a weight.
        last = valid.shape[1] - 1 - (weights > 0).flip(1).int().argmax(1)
        centres.append(_at(features, torch.minimum(place, last)))
        squares = (features - centres[-1][:, None]).square().sum(-1)
        weights = torch.where(valid, squares if len(centres) == 1 else torch.minimum(weights, squares), 0.0)
    return torch.stack(centres, 1)


def _checked(vectors: Tensor) -> Tensor:
    """Refuse vectors that are not finite, or whose squared lengths are not: of NaN and numbers a minimum takes NaN."""
    check_finite("vectors", vectors, ADVICE)
    check_finite("squared lengths", vectors.square().sum(-1), "scale the vectors down")
    return vectors


def _centred(features: Tensor, valid: Tensor) -> Tensor:
    weights = valid.to(features)[..., None]
    mean = (features * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1)
    return features - mean


def _at(features: Tensor, place: Tensor) -> Tensor:
    return features.take_along_dim(place[:, None, None], 1)[:, 0]


def _distances(features: Tensor, centres: Tensor) -> Tensor:
    # Not by matrix products, which lose all digits where vectors are far from the origin and near each other.
    return torch.cdist(features, centres, compute_mode="donot_use_mm_for_euclid_dist")
