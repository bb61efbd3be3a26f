"""Forward passes in chunks, whose maps stay in a processor's cache, and whose graphs need not all be kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gendistill.nets.weight_normalised import MeanOnlyBatchNorm
from trainers.in_parts import Part, in_parts

CPU_CHUNK = 64
"""Rows of a chunk on a CPU."""
GPU_CHUNK = 512
"""The same on a GPU."""
KEPT = 256
"""Rows whose graph is kept as long as it is wanted; where there are more, each chunk's is made anew on the way back."""


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


def mapped(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    apart: bool,
    network: nn.Module | None = None,
    weights: Sequence[Tensor] = (),
) -> Tensor:
    """Return what a function gives for the inputs (N, ...), chunk by chunk.

    Args:
        function: Rows of the inputs -> as many rows.
        inputs: (N, ...) each.
        apart: See :func:`chunks`.
        network: See :func:`trainers.in_parts.in_parts`, as for ``weights``.
        weights: Other tensors than the inputs that get gradients.
    """
    count, size = len(inputs[0]), _size(inputs[0])
    if not apart or count <= max(KEPT, size) or not torch.is_grad_enabled():
        rows = chunks(*inputs, apart=apart)
        return function(*inputs) if len(rows) == 1 else torch.cat([function(*some) for some in rows])
    places = [slice(first, min(first + size, count)) for first in range(0, count, size)]
    parts = [Part((rows,), rows) for rows in places]
    return in_parts(lambda *some: (function(*some),), inputs, parts, count, network=network, weights=weights)[0]


def class_means(
    features: Callable[[Tensor], Sequence[Tensor]],
    images: Tensor,
    *,
    network: nn.Module | None = None,
    apart: bool = True,
    at_once: int | None = None,
    keep: int | None = None,
    weights: Sequence[Tensor] = (),
) -> list[Tensor]:
    """Return the means of each class's features; of those of single images only sums are in memory.

    Args:
        features: Images (N, C, H, W) -> features (N, F), of several kinds.
        images: (K, M, C, H, W), a row a class, or (K, M, ...) of what else features are made of.
        network: Whose features they are; see :func:`trainers.in_parts.in_parts`.
        apart: Whether an image's features depend on this image alone; else all go through together.
        at_once: Images that go through together; None: as in :func:`chunks`.
        keep: Images whose graph may be kept as a whole; None: :data:`KEPT`.
        weights: Other tensors than the images that get gradients.

    Returns:
        (K, F) of each kind.
    """
    classes, count = images.shape[:2]
    limit = (_size(images) if at_once is None else at_once) if apart else classes * count
    together, columns = max(1, min(classes, limit // count)), max(1, min(count, limit))
    parts = [
        Part((rows, slice(column, min(column + columns, count))), rows)
        for rows in (slice(first, min(first + together, classes)) for first in range(0, classes, together))
        for column in range(0, count, columns)
    ]

    def summed(some: Tensor) -> list[Tensor]:
        return [found.unflatten(0, some.shape[:2]).sum(1) for found in features(some.flatten(0, 1))]

    moved = images.requires_grad or any(weight.requires_grad for weight in weights)
    again = len(parts) > 1 and classes * count > (KEPT if keep is None else keep) and moved
    if again or not torch.is_grad_enabled():
        return [kind / count for kind in in_parts(summed, [images], parts, classes, network=network, weights=weights)]
    groups = [group.split(columns, 1) for group in images.split(together)]
    sums = [[reduce(torch.add, kind) for kind in zip(*map(summed, group), strict=True)] for group in groups]
    return [torch.cat(kind) / count for kind in zip(*sums, strict=True)]


def rows_apart(network: nn.Module) -> bool:
    """Return whether a network treats each image by itself: whether it has no batch norm that looks at the batch."""
    return not any(
        isinstance(module, _BatchNorm | MeanOnlyBatchNorm)
        and (module.training or getattr(module, "running_mean", None) is None)
        for module in network.modules()
    )
