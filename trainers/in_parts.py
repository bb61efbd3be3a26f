"""A function of many rows, part by part: with one part's graph in memory, which is made anew on the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gendistill.nets.again import Remembered


class Part(NamedTuple):
    """A part of the work.

    Attributes:
        taken: Which part of every input, as they are indexed.
        rows: Which rows of the results it adds to.
    """

    taken: tuple[slice, ...]
    rows: slice


def in_parts(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    parts: Sequence[Part],
    count: int,
    *,
    network: nn.Module | None = None,
    weights: Sequence[Tensor] = (),
) -> tuple[Tensor, ...]:
    """Return the sums of what a function gives for the parts of its inputs.

    The function is called for each part without a graph, and on the way back again, with one. Between two parts nothing
    is left but their results, in memory that is there before the first one: the C library then finds the same holes for
    the next part.

    Args:
        function: Parts of the inputs -> results (k, ...), k the number of the part's rows.
        inputs: Tensors of which parts are taken; those that require gradients get them.
        parts: All parts.
        count: Rows of the results.
        network: What the function calls. The second calls draw what the first ones drew, and leave its buffers alone.
        weights: What else gets gradients: parameters that the function uses.

    Returns:
        (count, ...) of each kind, differentiable once.
    """
    plan = _Plan(function, len(inputs), list(parts), count, network)
    found: tuple[Tensor, ...] = _InParts.apply(plan, *inputs, *weights)
    return found


class _Plan:
    """What :class:`_InParts` is told besides tensors."""

    def __init__(
        self,
        function: Callable[..., Sequence[Tensor]],
        inputs: int,
        parts: list[Part],
        count: int,
        network: nn.Module | None,
    ) -> None:
        self.function, self.inputs, self.parts, self.count = function, inputs, parts, count
        self.network = network
        self.before: Remembered | None = None
        self.autocast: Any = nullcontext()

    def begin(self, device: torch.device) -> None:
        """Note what the calls depend on besides tensors."""
        self.before = None if self.network is None else Remembered(self.network, device)
        kind = device.type
        self.autocast = torch.autocast(
            kind, dtype=torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind)
        )


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.plan = plan
        plan.begin(tensors[0].device)
        results: list[Tensor] = []
        for part in plan.parts:
            found = plan.function(*(values[part.taken] for values in tensors[: plan.inputs]))
            if not results:
                results = [value.new_zeros(plan.count, *value.shape[1:]) for value in found]
            for result, value in zip(results, found, strict=True):
                result[part.rows] += value
            del found
        ctx.save_for_backward(*tensors)
        return tuple(results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        plan, tensors = ctx.plan, ctx.saved_tensors
        inputs, weights = tensors[: plan.inputs], tensors[plan.inputs :]
        wanted = ctx.needs_input_grad[1:]
        gradients = [torch.zeros_like(value) if need else None for value, need in zip(tensors, wanted, strict=True)]
        # All parts in their order: so they draw, and move buffers, as they did at first.
        with nullcontext() if plan.before is None else plan.before.again():
            for part in plan.parts:
                with torch.enable_grad(), plan.autocast:
                    own = [
                        values.detach()[part.taken].requires_grad_(need)
                        for values, need in zip(inputs, wanted, strict=False)
                    ]
                    found = plan.function(*own)
                leaves = [value for value, need in zip([*own, *weights], wanted, strict=True) if need]
                shares = [slope[part.rows] for slope in slopes]
                got = iter(torch.autograd.grad(list(found), leaves, shares, materialize_grads=True))
                for place, gradient in enumerate(gradients):
                    if gradient is not None:
                        (gradient[part.taken] if place < len(inputs) else gradient).add_(next(got))
                del own, found, leaves, got
        return None, *gradients
