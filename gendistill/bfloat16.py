"""Whether a processor computes in bfloat16, or only imitates it at a tenth of float32's speed."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F

SLOWER = 1.5
"""A convolution that takes so many times as long as in float32 does not pay in any network."""
TIMES = 3


def slowdown(device: torch.device) -> float | None:
    """Return how many times as long as in float32 a convolution takes in bfloat16; None where it is worth trying.

    Processors without instructions for it, such as those with AVX2 alone, are some ten times slower. Timed once in a
    process, in some milliseconds; only of CPUs, since every GPU that has it is fast at it.

    Args:
        device: Where networks are to compute.
    """
    factor = _on_cpu() if device.type == "cpu" else 0.0
    return factor if factor >= SLOWER else None


@cache
def _on_cpu() -> float:
    return _seconds(torch.bfloat16) / _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """Return the least seconds that a convolution of a small network's size takes; the first one only warms up."""
    images = torch.zeros(16, 32, 16, 16, dtype=dtype)
    weight = torch.zeros(32, 32, 3, 3, dtype=dtype)
    taken = []
    with torch.inference_mode():
        for _ in range(1 + TIMES):
            began = time.perf_counter()
            F.conv2d(images, weight, padding=1)
            taken.append(time.perf_counter() - began)
    return min(taken[1:])
