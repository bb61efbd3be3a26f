"""Forward passes in chunks, whose maps stay in a processor's cache, and whose graphs need not all be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from gendistill.nets.weight_normalised import MeanOnlyBatchNorm

Result = TypeVar("Result")
CPU_CHUNK = 64
"""Rows of a chunk on a CPU."""


def chunks(*inputs: Tensor, apart: bool) -> list[tuple[Tensor, ...]]:
    """Return rows of the inputs to be computed together: on a CPU a few at a time, elsewhere all.

    Args:
        inputs: (N, ...) each.
        apart: Whether each row of the result depends on its own row of the inputs alone; else nothing is split.
    """
    if not apart or inputs[0].device.type != "cpu" or len(inputs[0]) <= CPU_CHUNK:
        return [inputs]
    return list(zip(*(values.split(CPU_CHUNK) for values in inputs), strict=True))


def rows_apart(network: nn.Module) -> bool:
    """Return whether a network treats each image by itself: whether it has no batch norm that looks at the batch."""
    return not any(
        isinstance(module, _BatchNorm | MeanOnlyBatchNorm)
        and (module.training or getattr(module, "running_mean", None) is None)
        for module in network.modules()
    )


def rebuilt(function: Callable[..., Result], *inputs: Tensor) -> Result:
    """Return what a function gives for the inputs; its graph is not kept but made anew on the way back.

    Args:
        function: Draws nothing at random, and leaves what it uses as it was: it is called twice.
        *inputs: Tensors.
    """
    found: Result = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return found
