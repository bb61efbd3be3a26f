"""A loss on images that are looked at one group after another, with the graph of one group in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gendistill.errors import UserError
from trainers.batch import Made
from trainers.terms.generated import carry

Loss = Callable[[Made], Tensor | None]


def rows_of(count: int, size: int) -> list[slice]:
    """Return the rows of groups of ``size`` images each, of which there are ``count``; the last may have fewer."""
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def over_groups(
    loss: Loss, made: Made, groups: Sequence[slice], records: dict[str, Tensor], name: str
) -> Tensor | None:
    """Return the mean of a loss over groups of images, weighted by their size.

    Args:
        loss: Images -> a scalar, or None for nothing.
        made: All images.
        groups: Their rows, a group each; with fewer than two all are looked at together.
        records: What the loss logs meanwhile, by name; afterwards the same mean of it.
        name: What the loss is called in a sentence.

    Returns:
        A scalar: with its graph where all are looked at together, else with the gradients of
        images, what learners are told, and latents, differentiable once. None where no group has a loss.

    Raises:
        UserError: The loss is no scalar.
    """
    if len(groups) < 2:
        return _scalar(loss(made), name)
    moved = {field: value for field, value in made._asdict().items() if value is not None and value.requires_grad}
    gradients = {field: torch.zeros_like(value) for field, value in moved.items()}
    total: Tensor | None = None
    before, logged = dict(records), dict[str, Tensor]()
    for rows in groups:
        records.clear()
        parts = {field: value.detach()[rows] for field, value in made._asdict().items() if value is not None}
        own = made._replace(**parts)
        leaves = {field: getattr(own, field).requires_grad_() for field in moved}
        share = len(own.images) / len(made.images)
        value = _scalar(loss(own), name)
        for key, number in records.items():
            logged[key] = logged[key] + share * number if key in logged else share * number
        if value is None:
            continue
        total = share * value.detach() + (0 if total is None else total)
        if value.requires_grad and leaves:
            found = torch.autograd.grad(share * value, list(leaves.values()), allow_unused=True)
            for field, gradient in zip(leaves, found, strict=True):
                if gradient is not None:
                    gradients[field][rows] = gradient
    records.clear()
    records.update(before | logged)
    if total is None:
        return None
    # The number itself, and zeros that have its gradients.
    nothing = torch.zeros_like(total)
    return total + sum(carry(nothing, value, gradients[field]) for field, value in moved.items())


def _scalar(value: Tensor | None, name: str) -> Tensor | None:
    if value is not None and (not isinstance(value, Tensor) or value.ndim):
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise UserError(f"{name} returned {given}; return a scalar tensor, such as a mean, or None for nothing")
    return value
