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
    """Split samples into parts in which every class has its share, up to one sample.

    The samples are shuffled, put in order of their place within their class (as a fraction), and cut: any cut of that
    order takes nearly the same fraction of every class. The sizes are met exactly.

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
    counts = torch.bincount(labels)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]
    fraction = (place.to(torch.float64) + 0.5) / counts[labels[by_class]]
    # Classes of equal size tie at every fraction; the stable sort would favour low labels, the jitter does not.
    jitter = torch.rand(len(labels), generator=generator, dtype=torch.float64) * 1e-9
    order = by_class[(fraction + jitter).argsort()]
    return tuple(part.sort().values for part in order.split(list(sizes)))
