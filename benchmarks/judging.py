"""An update of a learner in bfloat16, and compiled, against one in float32 as it is.

The ways take turns in one process, after each was compiled. Freed memory is kept, as commands do. How far
precisions agree in accuracy: ``benchmarks/precision.py``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from gendistill.allocation import keep_freed_memory
from gendistill.data.augment import DSA, augment
from gendistill.evaluation.update_loss import UpdateLoss
from gendistill.nets.learners import ConvNet

THREADS = 1
POINTS = (((3, 32, 32), 128, 100), ((1, 28, 28), 128, 100), ((1, 28, 28), 32, 100))
"""Shapes of the images, widths of the network and images of a batch."""
WAYS = {
    "float32": ("float32", False),
    "float32, compiled": ("float32", True),
    "bfloat16": ("bfloat16", False),
    "bfloat16, compiled": ("bfloat16", True),
}


def measure(points: Sequence[tuple[tuple[int, int, int], int, int]] = POINTS, rounds: int = 7) -> dict[str, Any]:
    """Measure each point.

    Args:
        points: See :data:`POINTS`.
        rounds: Updates of each way; the first is not counted.

    Returns:
        For each point CPU milliseconds of an update (medians) and how many times as fast each way is as float32, the
        CPU seconds that compiling took, and the milliseconds of augmenting a batch by DSA.
    """
    keep_freed_memory()
    found = {}
    for shape, width, batch in points:
        network = ConvNet(num_classes=10, image_shape=shape, width=width)
        parameters = list(network.parameters())
        images, labels = torch.randn(batch, *shape), torch.arange(batch) % 10
        losses, compiling = {}, {}
        for way, (precision, compile) in WAYS.items():
            start = time.process_time()
            losses[way] = UpdateLoss(precision, 1.0, compile)
            losses[way].prepare(network, images, labels)
            if compile:
                compiling[way] = time.process_time() - start
        seconds: dict[str, list[float]] = {way: [] for way in [*WAYS, "augmenting"]}
        generator = torch.Generator().manual_seed(0)
        for _ in range(rounds):
            for way, loss in losses.items():
                start = time.process_time()
                torch.autograd.grad(loss(network, images, labels), parameters)
                seconds[way].append(time.process_time() - start)
            start = time.process_time()
            augment(images, DSA, generator)
            seconds["augmenting"].append(time.process_time() - start)
        medians = {way: 1e3 * statistics.median(ones[1:]) for way, ones in seconds.items()}
        found[f"{'x'.join(map(str, shape))}, width {width}, batch {batch}"] = {
            "cpu_milliseconds": medians,
            "times_as_fast": {way: medians["float32"] / medians[way] for way in WAYS},
            "seconds_of_compiling": compiling,
        }
    return {"rounds": rounds, "updates": found}
