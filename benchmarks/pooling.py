"""A training step of a ConvNet with its own average pooling against torch's, on a CPU; both give the same gradients.

The ways take turns in one process. Freed memory is kept, as commands do.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.allocation import keep_freed_memory
from gendistill.nets.learners import ConvNet
from gendistill.nets.pooling import AveragePool

THREADS = 1
POINTS = (((1, 28, 28), 128, 100), ((1, 28, 28), 32, 100), ((3, 32, 32), 128, 100), ((1, 8, 8), 32, 64))
"""Shapes of the images, widths of the network and images of a batch."""


def with_torchs_pooling(network: nn.Module) -> nn.Module:
    """Return a copy of a network with ``nn.AvgPool2d(2)`` wherever it has our own pooling."""
    other = copy.deepcopy(network)
    for name, module in list(other.named_modules()):
        if isinstance(module, AveragePool):
            other.set_submodule(name, nn.AvgPool2d(2))
    return other


def gradients(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the gradients of a step's loss with respect to the weights."""
    loss = F.cross_entropy(network(images), torch.arange(len(images)) % 10)
    return list(torch.autograd.grad(loss, list(network.parameters())))


def measure(points: Sequence[tuple[tuple[int, int, int], int, int]] = POINTS, rounds: int = 10) -> dict[str, Any]:
    """Measure each point.

    Args:
        points: See :data:`POINTS`.
        rounds: Steps of each way; the first is not counted.

    Returns:
        For each point both ways' median milliseconds of a step, how many times as fast ours is, and how far its
        gradients are from torch's at the most.
    """
    keep_freed_memory()
    found = {}
    for shape, width, batch in points:
        depth = 2 if shape[-1] < 16 else 3
        ours = ConvNet(num_classes=10, image_shape=shape, width=width, depth=depth)
        ways = {"ours": ours, "torch": with_torchs_pooling(ours)}
        images = torch.randn(batch, *shape)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        last: dict[str, list[Tensor]] = {}
        for _ in range(rounds + 1):
            for way, network in ways.items():
                start = time.perf_counter()
                last[way] = gradients(network, images)
                seconds[way].append(time.perf_counter() - start)
        apart = max(float((a - b).abs().max()) for a, b in zip(*last.values(), strict=True))
        medians = {way: 1e3 * statistics.median(ones[1:]) for way, ones in seconds.items()}
        found[f"{'x'.join(map(str, shape))}, width {width}, batch {batch}"] = {
            "milliseconds": medians,
            "times_as_fast": medians["torch"] / medians["ours"],
            "gradients_apart": apart,
        }
    return {"rounds": rounds, "steps_of_training": found}
