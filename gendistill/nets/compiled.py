"""Compiled functions, also of what is differentiated twice: there the derivative itself is what is compiled.

``torch.compile`` cannot differentiate twice what it compiled. It can compile a function that takes derivatives inside
(``torch.func.grad``), however often. Such a function gives a value together with its gradient; :func:`known` puts both
into a graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from gendistill.nets.exact import TwiceDifferentiable

Function = TypeVar("Function", bound=Callable[..., Any])
RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU)
"""Layers that draw numbers of their own."""


def compiled(function: Function) -> Function:
    """Return a function compiled for the shapes that it meets, which are few."""
    # Told with every first compilation on a machine without a GPU, where there is none to be found.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    return cast(Function, torch.compile(function, dynamic=False))


def compilable(network: nn.Module) -> bool:
    """Return whether a network's gradients can be compiled: it keeps no buffers, draws nothing, and has plain weights.

    What else may stand in the way shows when it is compiled.
    """
    plain = not any(True for _ in network.buffers()) and not TwiceDifferentiable(network).exchanges
    return plain and not any(isinstance(module, RANDOM) or module._forward_pre_hooks for module in network.modules())


def known(value: Tensor, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return a scalar whose gradient with respect to the inputs is known; it is differentiable once.

    Args:
        value: The scalar.
        inputs: What it was computed from.
        gradients: One an input, of the same shape.
    """
    found: Tensor = _Known.apply(value, len(inputs), *inputs, *gradients)
    return found


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors[count:])
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return None, None, *(slope * gradient for gradient in gradients), *(None for _ in gradients)
