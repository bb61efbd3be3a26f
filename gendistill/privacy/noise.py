"""Normal noise from the operating system, outside every stream of a run, and never stored.

A teacher's file holds seed and config, and a run's streams derive from them: noise from there could be drawn again by
whoever has the file, and subtracted. Here every number comes from ``os.urandom``; there is no generator whose state
could be found, saved or guessed.
"""

from __future__ import annotations

import math
import os

import numpy as np
import torch
from torch import Tensor

PARTS = 4
"""Normal numbers that make one. In floating point not every value can come about, and which can tells of the sum below
(Mironov 2012); a sum of several hides it (Holohan and Braghin 2021)."""
AT_ONCE = 1 << 20
SOURCE = "os.urandom, sums of 4 normals (Holohan and Braghin 2021)"


def system_uniform(count: int) -> np.ndarray:
    """Return ``count`` float64 numbers, uniform in (0, 1), of the operating system's generator."""
    bits = np.frombuffer(os.urandom(8 * count), dtype=np.uint64) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def system_normal(count: int) -> Tensor:
    """Return ``count`` independent standard normal float64 numbers, on the CPU.

    Source: Box and Muller 1958; the sum of :data:`PARTS` of them over its root.
    """
    total = np.empty(count)
    for start in range(0, count, AT_ONCE):
        wanted = min(AT_ONCE, count - start)
        half = -(-wanted // 2)
        parts = np.zeros((2, half))
        for _ in range(PARTS):
            radius = np.sqrt(-2.0 * np.log(system_uniform(half)))
            angle = 2.0 * math.pi * system_uniform(half)
            # The two of a pair are independent, and go to different sums.
            parts[0] += radius * np.cos(angle)
            parts[1] += radius * np.sin(angle)
        total[start : start + wanted] = parts.ravel()[:wanted]
    return torch.from_numpy(total / math.sqrt(PARTS))


def system_noise(shape: tuple[int, ...]) -> Tensor:
    """Return :func:`system_normal` numbers in a shape."""
    return system_normal(math.prod(shape)).view(shape)


def system_choice(count: int, rate: float) -> Tensor:
    """Return which records are in a Poisson sample, (count,) bool: each on its own, with chance ``rate``."""
    return torch.ones(count, dtype=torch.bool) if rate >= 1 else torch.from_numpy(system_uniform(count) < rate)
