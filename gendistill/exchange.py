"""What processes that train together exchange, as a function that can be differentiated as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gendistill.links.exchanges import OWN, Circle, all_reduce


def shared_with() -> Circle:
    """Return the processes that share a batch with this one."""
    return OWN.circle or Circle(None, dist.get_rank(), dist.get_world_size())


class SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over the processes that share a batch, differentiably and as often as wanted.

    The derivative of a sum is one for each summand, so the gradient is again a sum over processes. After gradients are
    averaged over processes this is the gradient of the mean of their losses.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Return the sum."""
        total = value.clone(memory_format=torch.contiguous_format)
        all_reduce(total, shared_with(), "statistics")
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the sum of the gradients."""
        total: Tensor = SumOverProcesses.apply(gradients[0])
        return total


def means_over_processes(values: Sequence[Tensor], world: int) -> list[Tensor]:
    """Return the mean of each tensor over all processes, with one exchange for those of a kind.

    Args:
        values: Of any shapes, the same ones in every process; each requires a gradient in all of them or in none.
        world: How many processes there are; one keeps the values as they are.
    """
    if world == 1 or not values:
        return list(values)
    found: dict[int, Tensor] = {}
    # What needs no gradient goes by itself: its way back would be an exchange for nothing.
    for kind in dict.fromkeys((value.dtype, value.requires_grad) for value in values):
        places = [place for place, value in enumerate(values) if (value.dtype, value.requires_grad) == kind]
        flat = torch.cat([values[place].reshape(-1) for place in places])
        total: Tensor = SumOverProcesses.apply(flat)
        parts = (total / world).split([values[place].numel() for place in places])
        found |= {place: part.view(values[place].shape) for place, part in zip(places, parts, strict=True)}
    return [found[place] for place in range(len(values))]


class AverageGradients(torch.autograd.Function):
    """The values themselves, whose gradients are the means of those in all processes, as often as wanted.

    For parameters that are the same in every process, in a loss of each process's part of the batch that is
    differentiated while the step goes on.
    """

    @staticmethod
    def forward(ctx: Any, world: int, *values: Tensor) -> tuple[Tensor, ...]:
        """Return the values.

        Args:
            ctx: Keeps ``world``.
            world: How many processes there are.
            *values: Of any shapes, the same ones in every process.
        """
        ctx.world = world
        return tuple(value.view_as(value) for value in values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the mean gradients."""
        return None, *means_over_processes(gradients, ctx.world)
