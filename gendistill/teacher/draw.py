"""Which stored items come next: stratified or shuffled epochs, fixed order, class-balanced draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

Shuffle = Literal["none", "batches", "all"]


def shuffled_order(size: int, step_count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield indices (B,) cut from one endless row of shuffled epochs, so that no item is dropped.

    Args:
        size: Number of items, at least 1.
        step_count: Number of batches.
        batch_size: Items a batch. Where it is not below ``size``, every batch is all items, each once.
        generator: Shuffles; the indices live on its device.
    """
    return _cut(
        lambda: torch.randperm(size, generator=generator, device=generator.device), size, step_count, batch_size
    )


def stratified_order(classes: Tensor, step_count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield indices (B,) like :func:`shuffled_order`, the items of every class spread evenly over each epoch.

    Every batch then has nearly the classes' shares of the whole. In the first updates of a learner that matters more
    than what the images show.

    Args:
        classes: (N,) class of each item.
        step_count: Number of batches.
        batch_size: Items a batch.
        generator: Shuffles; the indices live on its device.
    """
    device = generator.device
    classes = classes.to(device)
    # How many of each class, and where it begins in the sorted order, without asking how many classes there are.
    ordered = classes.sort().values
    starts = torch.searchsorted(ordered, ordered)
    counts = torch.searchsorted(ordered, ordered, right=True) - starts

    def epoch() -> Tensor:
        order = torch.randperm(len(classes), generator=generator, device=device)
        order = order[classes[order].argsort(stable=True)]
        # The i-th of a class's n items falls anywhere in the i-th n-th of the epoch.
        place = torch.arange(len(order), device=device) - starts
        jitter = torch.rand(len(order), generator=generator, device=device)
        return order[((place + jitter) / counts).argsort()]

    return _cut(epoch, len(classes), step_count, batch_size)


def _cut(epoch: Callable[[], Tensor], size: int, step_count: int, batch_size: int) -> Iterator[Tensor]:
    waiting: list[Tensor] = []
    for _ in range(step_count):
        if sum(map(len, waiting)) < batch_size:
            waiting.append(epoch())
        row = torch.cat(waiting)
        # A batch of everything is in stored order: how it is ordered changes nothing but the rounding.
        yield row[:batch_size] if batch_size < size else row[:size].sort().values
        waiting = [row[batch_size:]]


def fixed_order(size: int, step_count: int, batch_size: int) -> Iterator[Tensor]:
    """Yield indices (B,) in stored order, starting again at the front when the end is reached."""
    batch_size = min(batch_size, size)
    for step in range(step_count):
        yield (torch.arange(batch_size) + step * batch_size) % size


def lesson_order(
    shuffle: Shuffle, classes: Tensor, step_count: int, generator: torch.Generator
) -> Iterator[Tensor | int]:
    """Yield what a curriculum of T batches shows at one step after another.

    Args:
        shuffle: ``none``: batch t mod T at step t, nothing is drawn. ``batches``: batches as they are, their order
            shuffled. ``all``: batches of as many items, drawn from all T*B items, stratified.
        classes: (T, B) class of each item.
        step_count: Number of steps.
        generator: Shuffles, epoch by epoch.

    Returns:
        The number of a batch (int), or indices (B,) among the T*B items.
    """
    count, size = classes.shape
    if shuffle == "all":
        yield from stratified_order(classes.flatten(), step_count, size, generator)
    elif shuffle == "batches":
        yield from (int(index) for index in shuffled_order(count, step_count, 1, generator))
    else:
        yield from (step % count for step in range(step_count))


def lesson_index(shuffle: Shuffle, classes: Tensor, generator: torch.Generator) -> Tensor | None:
    """Return what :func:`lesson_order` yields for T steps, as one tensor that is not read: a GPU is not waited for.

    Args:
        shuffle: See there, as for the others.
        classes: (T, B).
        generator: Shuffles.

    Returns:
        Numbers of batches (T,), indices (T, B) among the items, or None: batches come as they are.
    """
    count, size = classes.shape
    if shuffle == "all":
        return torch.stack(list(stratified_order(classes.flatten(), count, size, generator)))
    if shuffle == "batches":
        return torch.randperm(count, generator=generator, device=generator.device)
    return None


def draw(labels: Tensor, num_classes: int, count: int, generator: torch.Generator, balanced: bool = True) -> Tensor:
    """Draw stored items, without replacement as long as there are enough.

    Args:
        labels: (N,) class indices.
        num_classes: Number of classes K.
        count: Number of items; beyond N (or beyond a class when balanced) items repeat as evenly as possible.
        generator: Draws; the indices live on its device.
        balanced: The same number of every class that has items, up to one.

    Returns:
        (count,) indices in random order.
    """
    device = generator.device
    if not balanced:
        return _repeated(torch.arange(len(labels), device=device), count, generator)
    labels = labels.to(device)
    members = [(labels == label).nonzero().flatten() for label in range(num_classes)]
    members = [index for index in members if len(index)]
    shares = [count // len(members)] * len(members)
    for position in torch.randperm(len(members), generator=generator, device=device)[: count % len(members)].tolist():
        shares[position] += 1
    chosen = [_repeated(index, share, generator) for index, share in zip(members, shares, strict=True)]
    return _permuted(torch.cat(chosen), generator)


def draw_once(labels: Tensor, num_classes: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw different stored items, as evenly over the classes as these allow.

    Args:
        labels: (N,) class indices.
        num_classes: Number of classes K.
        count: Number of items, at most N.
        generator: Draws; the indices live on its device.

    Returns:
        (count,) different indices, ordered by class.
    """
    order = torch.randperm(len(labels), generator=generator, device=generator.device)
    shuffled = labels.to(generator.device)[order]
    members = [order[shuffled == label] for label in range(num_classes)]
    shares = even_shares(count, [len(index) for index in members], generator)
    return torch.cat([index[:share] for index, share in zip(members, shares, strict=True)])


def even_shares(count: int, available: list[int], generator: torch.Generator) -> list[int]:
    """Return how many items each class gives, as evenly as the classes allow: one that is too small gives all it has.

    Args:
        count: Items in total, 0 to the sum of ``available``.
        available: Items of each class.
        generator: Draws which classes give one more.
    """
    shares = [0] * len(available)
    while count:
        unfilled = [label for label, limit in enumerate(available) if shares[label] < limit]
        if count >= len(unfilled):
            step = min(count // len(unfilled), *(available[label] - shares[label] for label in unfilled))
            chosen = unfilled
        else:
            picked = torch.randperm(len(unfilled), generator=generator, device=generator.device)[:count]
            step, chosen = 1, [unfilled[position] for position in picked.tolist()]
        for label in chosen:
            shares[label] += step
        count -= step * len(chosen)
    return shares


def balanced_labels(count: int, num_classes: int, generator: torch.Generator) -> Tensor:
    """Return (count,) class indices on the generator's device, every class equally often up to one, in random order."""
    whole, rest = divmod(count, num_classes)
    device = generator.device
    extra = torch.randperm(num_classes, generator=generator, device=device)[:rest]
    return _permuted(torch.cat([torch.arange(num_classes, device=device).repeat(whole), extra]), generator)


def _permuted(index: Tensor, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator, device=generator.device)]


def _repeated(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    rounds = [_permuted(index, generator) for _ in range(-(-count // len(index)))]
    return torch.cat(rounds)[:count] if rounds else index[:0]
