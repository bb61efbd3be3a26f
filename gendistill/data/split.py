"""Splits that never change: the same samples are held out on every machine, in every run, for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gendistill.errors import UserError

SPLIT_SEED = 20200101
"""Seed of every split that the data set's authors did not make. A result is only comparable while this stays."""

VALIDATION_LIMIT = 5000
NAMED = 8
"""Classes that a sentence names; of more it says how many there are."""
EFFECTS = {
    "train": "nothing teaches them",
    "validation": "choices are made without them",
    "test": "the accuracy says nothing of them",
}
"""What it means that a part has no images of some classes."""


def validation_size(count: int) -> int:
    """Return how many of ``count`` training images are held out: a tenth, at most 5,000."""
    return min(count // 10, VALIDATION_LIMIT)


def hold_out(labels: Tensor, count: int, seed: int = SPLIT_SEED, *, least: int = 1) -> tuple[Tensor, Tensor]:
    """Hold samples out, of every class its share and at least one where the class has two.

    Args:
        labels: (N,) int64 class indices.
        count: How many are held out; more where there are more classes than that, fewer where a class would keep
            less than ``least``.
        seed: Seed of the shuffle.
        least: How many of a class stay at least where there are enough; 2 where another part is still to be held out.

    Returns:
        Index of the rest and of what is held out, int64, ascending, on the CPU.
    """
    counts = torch.bincount(labels.cpu())
    divisible = int((counts > 1).sum())
    # A class with less than that and one to hold out gives the one all the same, its last sample never.
    spare = int((counts - (counts - 1).clamp(max=least))[counts > 1].sum())
    count = min(max(count, divisible), spare)
    rest, held = stratified(labels, (len(labels) - count, count), seed, least=(least, 1))
    return rest, held


def stratified(
    labels: Tensor, sizes: tuple[int, ...], seed: int = SPLIT_SEED, *, least: tuple[int, ...] | None = None
) -> tuple[Tensor, ...]:
    """Split samples into parts in which every class has its share, and none is missing that could be there.

    Sizes are met exactly. Each part in turn takes of every class its share of what is left, rounded down or up: up for
    the classes with the largest remainders, ties by lot. A class that is too rare for that still gives each part one
    sample, the first parts before the last, at the cost of the classes that have most beyond their least.

    Args:
        labels: (N,) int64 class indices.
        sizes: Sizes of the parts; their sum is N.
        seed: Seed of the shuffle.
        least: How many samples of a class each part has where there are enough and ``sizes`` allow it; None: 1 each.

    Returns:
        One (size,) int64 index a part, ascending, on the CPU.

    Raises:
        UserError: The sizes do not sum to N.
    """
    labels = labels.cpu()
    if sum(sizes) != len(labels):
        raise UserError(f"the parts {sizes} of a split must sum to the {len(labels)} samples there are")
    wanted = least or (1,) * len(sizes)
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]
    taken = torch.zeros_like(counts)
    parts = []
    for part, size in enumerate(sizes):
        left = counts - taken
        quota = left.to(torch.float64) * size / max(int(left.sum()), 1)
        take = quota.floor().to(torch.int64)
        lot = torch.rand(len(counts), generator=generator, dtype=torch.float64) * 1e-9
        take[(quota - take + lot).argsort(descending=True)[: size - int(take.sum())]] += 1
        # What later parts are left with comes before a second sample here, one sample here before anything there.
        reserved = (left - 1).clamp(min=0, max=sum(wanted[part + 1 :]))
        lowest = (left - reserved).clamp(max=wanted[part])
        take = _within(take, quota + lot, lowest, left - reserved, left)
        chosen = (place >= taken[labels[by_class]]) & (place < (taken + take)[labels[by_class]])
        parts.append(by_class[chosen].sort().values)
        taken += take
    return tuple(parts)


def _within(take: Tensor, quota: Tensor, lowest: Tensor, highest: Tensor, left: Tensor) -> Tensor:
    """Bring counts (K,) between two bounds without changing their sum; where no such counts exist, as near as can be.

    Counts between the bounds stay as they are, so that splits of classes with enough samples are what they always were.
    """
    size = int(take.sum())
    bounded = take.maximum(lowest).minimum(highest)
    for low, high in ((lowest, highest), (torch.zeros_like(left), left)):
        while (over := int(bounded.sum()) - size) > 0 and bool((bounded > low).any()):
            most = torch.where(bounded > low, bounded - quota, float("-inf")).argsort(descending=True)[:over]
            bounded[most[bounded[most] > low[most]]] -= 1
        while (under := size - int(bounded.sum())) > 0 and bool((bounded < high).any()):
            most = torch.where(bounded < high, quota - bounded, float("-inf")).argsort(descending=True)[:under]
            bounded[most[bounded[most] < high[most]]] += 1
    return bounded


def missing_classes(parts: Mapping[str, Tensor], class_names: Sequence[str]) -> list[str]:
    """Return a sentence for each part that has no samples of some class.

    Args:
        parts: Labels (N,) of each part, by the names ``train``, ``validation`` and ``test``.
        class_names: One a class, in label order.
    """
    counts = {part: torch.bincount(labels.cpu(), minlength=len(class_names)) for part, labels in parts.items()}
    total = torch.stack(list(counts.values())).sum(0)
    sentences = []
    for part, found in ((part, counts[part]) for part in EFFECTS if part in counts):
        absent = (found == 0).nonzero().flatten().tolist()
        if not absent or not int(found.sum()):
            continue
        named = ", ".join(f"'{class_names[label]}' ({int(total[label])} in all)" for label in absent[:NAMED])
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        what = "training" if part == "train" else part
        sentences.append(f"the {what} part has nothing of {named}{more}: {EFFECTS[part]}")
    return sentences
