"""The order in which a run sees a data set: epochs without repetition, and draws balanced over classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill import budget
from gendistill.errors import UserError

SHOWN = 3
"""Classes that are named of those that have few samples."""


class EpochSampler:
    """Index batches that visit every sample at most once an epoch, in a new order each epoch.

    The tail of an epoch that does not fill a batch is dropped. The order and the position are state of this object; the
    generator's own state is saved by whoever owns the generator.

    Args:
        size: Number of samples in the data set.
        batch_size: Number of indices a batch, 1..size.
        generator: Where the orders are drawn from; its device is the device of the indices.

    Raises:
        UserError: The batch is larger than the data set, or not positive.
    """

    def __init__(self, size: int, batch_size: int, generator: torch.Generator) -> None:
        if not 1 <= batch_size <= size:
            raise UserError(f"batch size {batch_size} does not fit a data set of {size} images; choose 1 to {size}")
        self.size = size
        self.batch_size = batch_size
        self.generator = generator
        self.epoch = 0
        self._position = 0
        self._order = torch.empty(0, dtype=torch.int64, device=generator.device)

    def next(self) -> Tensor:
        """Return the next batch of indices (B,), int64, on the generator's device."""
        if self._position + self.batch_size > len(self._order):
            self._order = torch.randperm(self.size, generator=self.generator, device=self.generator.device)
            self._position = 0
            self.epoch += 1
        index = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return index

    def state_dict(self) -> dict[str, Any]:
        """Return the current order (size,), the position in it and the number of the epoch."""
        return {"order": self._order.clone(), "position": self._position, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken.

        Raises:
            UserError: The state is of a data set of another size.
        """
        order = state["order"]
        if len(order) not in (0, self.size):
            raise UserError(
                f"the saved order is of {len(order)} images, the data set has {self.size}; "
                "resume with the same data or start afresh"
            )
        self._order = order.to(self.generator.device, copy=True)
        self._position = int(state["position"])
        self.epoch = int(state["epoch"])


class ClassSampler:
    """Index draws with the same number of samples of every class, as matching methods need them.

    Args:
        labels: (N,) int64 class indices; every class 0..num_classes-1 must occur.
        num_classes: Number of classes K.
        names: What the classes are called in sentences; left out: their numbers.

    Raises:
        UserError: A class has no sample, or a label is outside 0..num_classes-1.
    """

    def __init__(self, labels: Tensor, num_classes: int, names: Sequence[str] = ()) -> None:
        counts = torch.bincount(labels, minlength=num_classes)
        if len(counts) != num_classes:
            raise UserError(f"labels go up to {len(counts) - 1}, but there are {num_classes} classes")
        empty = (counts == 0).nonzero().flatten().tolist()
        self.names = list(names) or [str(label) for label in range(num_classes)]
        if empty:
            listed = ", ".join(self.names[label] for label in empty)
            raise UserError(f"no sample of class {listed}; every class needs at least one")
        self.num_classes = num_classes
        self.counts = counts
        # Sorted by class, so that class k is one run of `counts[k]` samples that starts at `_starts[k]`.
        self._sorted = labels.argsort(stable=True)
        self._starts = counts.cumsum(0) - counts
        # A row a class, its places in `_sorted`; `_padding` marks places beyond the end of a short class.
        places = torch.arange(int(counts.max()), device=labels.device)
        self._padding = places[None, :] >= counts[:, None]
        self.sizes: list[int] = counts.tolist()
        """Size of each class, so that nobody need ask the device again."""
        self.smallest = min(self.sizes)

    def draw(self, per_class: int, generator: torch.Generator, *, repeat: bool = False) -> Tensor:
        """Draw samples of every class, without repetition inside a draw as far as a class has so many.

        Args:
            per_class: Number of samples a class, at least 1.
            generator: Where the draw comes from; on the device of the labels.
            repeat: Whether a class with fewer samples gives all of them, in a random order and then again from the
                first: its first ``counts`` columns are min(per_class, counts) different samples. Otherwise it is
                refused.

        Returns:
            (K, per_class) int64 indices; row k holds samples of class k.

        Raises:
            UserError: ``per_class`` is below 1, or more than a class has, or than there is memory for.
        """
        smallest = self.smallest
        if per_class < 1 or (per_class > smallest and not repeat):
            few = f"{self.fewer_than(per_class)}, and " if per_class > smallest else ""
            raise UserError(f"cannot draw {per_class} images a class; {few}the smallest class has {smallest}")
        what = f"drawing {per_class:,} images of each of {self.num_classes:,} classes"
        budget.check_memory(3 * 8 * per_class * self.num_classes, what, "choose a smaller number")
        keys = torch.rand(self._padding.shape, generator=generator, device=self._padding.device)
        width = min(per_class, self._padding.shape[1])
        # The places of the smallest random keys are a uniform draw without repetition; padding sorts last.
        chosen = keys.masked_fill(self._padding, 2.0).topk(width, dim=1, largest=False).indices
        if per_class > smallest:
            columns = torch.arange(per_class, device=chosen.device)
            chosen = chosen.gather(1, columns % self.counts.clamp(max=per_class)[:, None])
        return self._sorted[self._starts[:, None] + chosen]

    def fewer_than(self, per_class: int) -> str:
        """Return in words which classes have fewer samples; an empty text where none has."""
        few = [(name, count) for name, count in zip(self.names, self.sizes, strict=True) if count < per_class]
        if not few:
            return ""
        shown = ", ".join(f"'{name}' has {count}" for name, count in few[:SHOWN])
        more = f", and {len(few) - SHOWN} more have fewer, too" if len(few) > SHOWN else ""
        return f"{'class' if len(few) == 1 else 'classes'} {shown}{more}"

    def draw_alike(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Draw for each given label a sample of that class, with repetition.

        Args:
            labels: (B,) int64 class indices.
            generator: Where the draw comes from; on the device of the labels.

        Returns:
            (B,) int64 indices; sample ``i`` is of class ``labels[i]``.
        """
        device = self.counts.device
        return self.alike(labels, torch.rand(labels.shape, generator=generator, device=device, dtype=torch.float64))

    def alike(self, labels: Tensor, chances: Tensor) -> Tensor:
        """Return for each given label a sample of that class.

        Args:
            labels: (B,) int64 class indices.
            chances: (B,) float64 in [0, 1), uniform: which of the class it is.

        Returns:
            (B,) int64 indices; sample ``i`` is of class ``labels[i]``.
        """
        counts = self.counts[labels]
        places = chances * counts
        return self._sorted[self._starts[labels] + places.long().clamp(max=counts - 1)]
