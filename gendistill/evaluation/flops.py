"""What a learner computes: the operations of one forward pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from gendistill.data.description import Description
from gendistill.evaluation.ensemble import build_learner
from gendistill.untrusted import Spec

aten = torch.ops.aten
ACTIVATIONS = (aten.relu, aten.leaky_relu, aten.sigmoid, aten.tanh, aten.silu, aten.gelu)
POOLINGS = (aten.avg_pool2d, aten.max_pool2d_with_indices, aten.mean)


def forward_operations(network: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Count what a network computes for one image.

    Args:
        network: Takes images (1, C, H, W); a copy is counted, in evaluation mode.
        image_shape: (C, H, W).

    Returns:
        ``multiply_adds``: of convolutions and matrix products, a multiplication with its addition as one (twice that is
        what many call FLOPs). ``operations``: those, and one for every bias added, every activation and every value
        that is pooled; normalisation is free. By this second count the ConvNet of width 128 has the 48.90 M (MNIST) and
        51.26 M (CIFAR-10) that Shi & Chen (2022, Table 1) report by the package flopeth. (Counting one operation a
        normalised value and none a bias gives the same digits.)
    """
    network = copy.deepcopy(network).to("meta").eval()
    return {
        "multiply_adds": _count(network, image_shape, None),
        "operations": _count(network, image_shape, ELEMENTWISE),
    }


def learner_operations(spec: Spec, description: Description) -> dict[str, int]:
    """Return :func:`forward_operations` of a learner for a data set.

    Args:
        spec: The learner; see :func:`gendistill.objects.build`.
        description: The data set.

    Raises:
        UserError: The learner cannot be built.
    """
    spec = {"class_path": spec} if isinstance(spec, str) else spec
    return forward_operations(build_learner(spec, description, 0), description.image_shape)


def _count(network: nn.Module, image_shape: tuple[int, int, int], formulas: Mapping[Any, Any] | None) -> int:
    counter = FlopCounterMode(display=False, custom_mapping=dict(formulas or {}))
    # Nothing is computed on this device, and layers that a CPU computes in a way of its own are what they are called.
    with torch.no_grad(), counter:
        network(torch.zeros(1, *image_shape, device="meta"))
    return int(counter.get_total_flops()) // 2


# The counter counts a multiplication and an addition as two, so everything here is doubled and halved at the end.


def _each_input(shape: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(shape)


def _convolution(shape: Any, weight: Any, bias: Any, *options: Any, out_shape: Any, **_: Any) -> int:
    transposed = bool(options[3])
    return int(conv_flop_count(shape, weight, out_shape, transposed)) + (2 * math.prod(out_shape) if bias else 0)


def _linear(bias: Any, left: Any, right: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return 2 * left[0] * left[1] * right[1] + 2 * math.prod(out_shape)


ELEMENTWISE: dict[Any, Callable[..., int]] = {
    **dict.fromkeys((*ACTIVATIONS, *POOLINGS), _each_input),
    aten.convolution: _convolution,
    aten.addmm: _linear,
}
