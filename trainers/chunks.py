"""Forward passes in chunks, whose maps stay in a processor's cache, and whose graphs need not all be kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from gendistill.nets.weight_normalised import MeanOnlyBatchNorm

Result = TypeVar("Result")
CPU_CHUNK = 64
"""Rows of a chunk on a CPU."""
GPU_CHUNK = 512
"""The same on a GPU."""
KEPT = 256
"""Rows whose graph is kept as long as it is wanted; where there are more, each chunk's is made anew on the way back."""


def images_at_once(device: torch.device, image_shape: tuple[int, int, int]) -> int:
    """Return how many images (C, H, W) go through a network together where nothing is said.

    128 on a CPU, where they then fit its cache, 2048 on a GPU; fewer where they are larger than 32x32.
    """
    most = 128 if device.type == "cpu" else 2048
    return min(most, max(1, most * 32 * 32 // math.prod(image_shape[1:])))


def chunks(*inputs: Tensor, apart: bool) -> list[tuple[Tensor, ...]]:
    """Return rows of the inputs to be computed together: :data:`CPU_CHUNK` or :data:`GPU_CHUNK` of them.

    Args:
        inputs: (N, ...) each.
        apart: Whether each row of the result depends on its own row of the inputs alone; else nothing is split.
    """
    size = _size(inputs[0])
    if not apart or len(inputs[0]) <= size:
        return [inputs]
    return list(zip(*(values.split(size) for values in inputs), strict=True))


def _size(values: Tensor) -> int:
    return CPU_CHUNK if values.device.type == "cpu" else GPU_CHUNK


def mapped(function: Callable[..., Tensor], *inputs: Tensor, apart: bool) -> Tensor:
    """Return what a function gives for the inputs (N, ...), chunk by chunk.

    Args:
        function: Rows of the inputs -> as many rows; see :func:`rebuilt`.
        inputs: (N, ...) each.
        apart: See :func:`chunks`.
    """
    rows = chunks(*inputs, apart=apart)
    again = len(rows) > 1 and len(inputs[0]) > KEPT and torch.is_grad_enabled()
    return torch.cat([rebuilt(function, *some) if again else function(*some) for some in rows])


def class_means(
    features: Callable[[Tensor], Sequence[Tensor]],
    images: Tensor,
    *,
    apart: bool = True,
    at_once: int | None = None,
    keep: int | None = None,
) -> list[Tensor]:
    """Return the means of each class's features; of those of single images only sums are in memory.

    Args:
        features: Images (N, C, H, W) -> features (N, F), of several kinds; see :func:`rebuilt`.
        images: (K, M, C, H, W), a row a class.
        apart: Whether an image's features depend on this image alone; else all go through together.
        at_once: Images that go through together; None: as in :func:`chunks`.
        keep: Images whose graph may be kept as a whole; None: :data:`KEPT`.

    Returns:
        (K, F) of each kind.
    """
    classes, count = images.shape[:2]
    limit = (_size(images) if at_once is None else at_once) if apart else classes * count
    again = apart and classes * count > (KEPT if keep is None else keep) and torch.is_grad_enabled()

    def summed(part: Tensor) -> tuple[Tensor, ...]:
        return tuple(found.unflatten(0, part.shape[:2]).sum(1) for found in features(part.flatten(0, 1)))

    means = []
    for group in images.split(max(1, limit // count)):
        parts = group.split(max(1, limit // len(group)), 1)
        sums = [rebuilt(summed, part) if again else summed(part) for part in parts]
        means.append([reduce(torch.add, kind) / count for kind in zip(*sums, strict=True)])
    return [torch.cat(kind) for kind in zip(*means, strict=True)]


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
