"""Splits that never change: the same samples are held out on every machine, in every run, for ever."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError

SPLIT_SEED = 20200101
"""Seed of every split that the data set's authors did not make. A result is only comparable while this stays."""

VALIDATION_LIMIT = 5000


def validation_size(count: int) -> int:
    """Return how many of ``count`` training images are held out: a tenth, at most 5,000."""
    return min(count // 10, VALIDATION_LIMIT)


def stratified(labels: Tensor, sizes: tuple[int, ...], seed: int = SPLIT_SEED) -> tuple[Tensor, ...]:
    """Split samples into parts in which every class has its share.

    Sizes are met exactly. Each part in turn takes of every class its share of what is left, rounded down or up: up for
    the classes with the largest remainders, ties by lot.

    Args:
        labels: (N,) int64 class indices.
        sizes: Sizes of the parts; their sum is N.
        seed: Seed of the shuffle.

    Returns:
        One (size,) int64 index a part, ascending, on the CPU.

    Raises:
        UserError: The sizes do not sum to N.
    """
    labels = labels.cpu()
    if sum(sizes) != len(labels):
        raise UserError(f"the parts {sizes} of a split must sum to the {len(labels)} samples there are")
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]
    taken = torch.zeros_like(counts)
    parts = []
    for size in sizes:
        left = counts - taken
        quota = left.to(torch.float64) * size / max(int(left.sum()), 1)
        take = quota.floor().to(torch.int64)
        lot = torch.rand(len(counts), generator=generator, dtype=torch.float64) * 1e-9
        take[(quota - take + lot).argsort(descending=True)[: size - int(take.sum())]] += 1
        chosen = (place >= taken[labels[by_class]]) & (place < (taken + take)[labels[by_class]])
        parts.append(by_class[chosen].sort().values)
        taken += take
    return tuple(parts)
