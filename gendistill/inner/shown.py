"""Stored images as a learner's steps show them: some of them at a time, augmented anew, with gradients of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from gendistill.data.augment import Parameters, apply

Showing = tuple[Tensor, Parameters]
"""Which images a step shows, (B,) indices, and how they are augmented."""


class ShownImages:
    """What learners see of a set of images, step by step.

    Each step that is differentiated has leaves of its own: the way back through an index into all images would write a
    gradient of the size of all for every step, and only one step's augmentation has a graph at a time. The steps before
    are made when they are asked for, and kept by nobody.

    Args:
        images: All images (N, C, H, W), a leaf.
        labels: Their classes (N,), or soft labels (N, K) with the graph that leads to what is trained, if any.
        showings: What each step shows.
        first: The first step that is differentiated.

    Attributes:
        images: T batches. Backpropagate losses of one learner after another into them.
        labels: T batches, in the same way.
    """

    def __init__(self, images: Tensor, labels: Tensor, showings: Sequence[Showing], first: int = 0) -> None:
        self._all, self._labels, self._showings, self._first = images, labels, showings, first
        still = images.detach()
        with torch.no_grad():
            own = [apply(still.index_select(0, index), how) for index, how in showings[first:]]
        own = [batch.requires_grad_(images.requires_grad) for batch in own]
        self.images: Sequence[Tensor] = _WithBefore(still, showings[:first], own) if first else own
        told = [labels.detach().index_select(0, index) for index, _ in showings]
        self.labels = [batch.requires_grad_(labels.requires_grad) for batch in told]

    def backward(self) -> None:
        """Send what has gathered at the steps to the images and labels that they were made from."""
        steps = range(self._first, len(self._showings))
        if self._all.requires_grad:
            if self._all.grad is None:
                self._all.grad = torch.zeros_like(self._all)
            for step in steps:
                index, how = self._showings[step]
                gradient = self.images[step].grad
                if gradient is not None:
                    own = self._all.detach().index_select(0, index).requires_grad_()
                    self._all.grad.index_add_(0, index, torch.autograd.grad(apply(own, how), own, gradient)[0])
        if self._labels.requires_grad:
            total = torch.zeros_like(self._labels)
            for step in reversed(steps):
                gradient = self.labels[step].grad
                if gradient is not None:
                    total.index_add_(0, self._showings[step][0], gradient)
            self._labels.backward(total)

    def gradient(self) -> Tensor:
        """Return the gradient (N, C, H, W) that the images have got so far; zeros before there is any."""
        return torch.zeros_like(self._all) if self._all.grad is None else self._all.grad


class _WithBefore(Sequence[Tensor]):
    """Batches of which the first are made whenever they are asked for, and the others are there."""

    def __init__(self, images: Tensor, before: Sequence[Showing], own: Sequence[Tensor]) -> None:
        self._images, self._before, self._own = images, before, own

    def __len__(self) -> int:
        return len(self._before) + len(self._own)

    @overload
    def __getitem__(self, step: int) -> Tensor: ...
    @overload
    def __getitem__(self, step: slice) -> list[Tensor]: ...
    def __getitem__(self, step: int | slice) -> Tensor | list[Tensor]:
        if isinstance(step, slice):
            return [self[one] for one in range(*step.indices(len(self)))]
        step = range(len(self))[step]
        if step >= len(self._before):
            return self._own[step - len(self._before)]
        index, how = self._before[step]
        with torch.no_grad():
            return apply(self._images.index_select(0, index), how)
