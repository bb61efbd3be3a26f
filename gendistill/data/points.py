"""Points of the plane around known modes: the rings and the grid that papers on mode collapse use, from no files."""

from __future__ import annotations

import math

import numpy as np
import torch

from gendistill.data.cloud import SHAPE, Cloud
from gendistill.data.description import LEVELS, Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.data.split import SPLIT_SEED

SIZES = (100_000, 10_000, 10_000)
"""Train (as in PacGAN's and VEEGAN's experiments), validation and test."""


def ring(radius: float, sigma: float, modes: int = 8) -> Cloud:
    """Return modes at even angles on a circle around 0, the first at (radius, 0)."""
    angles = (2 * math.pi * mode / modes for mode in range(modes))
    centres = tuple((radius * math.cos(angle), radius * math.sin(angle)) for angle in angles)
    return Cloud(centres, sigma, 2 * radius)


def grid(reach: int, step: int, sigma: float) -> Cloud:
    """Return modes on a square grid around 0, from -reach to reach."""
    values = range(-reach, reach + 1, step)
    return Cloud(tuple((float(x), float(y)) for x in values for y in values), sigma, 1.5 * reach)


CLOUDS = {
    "ring:d2gan": ring(2.0, math.sqrt(0.02)),
    "ring:unrolled": ring(2.0, 0.02),
    "ring:veegan": ring(1.0, 0.01),
    "grid:veegan": grid(4, 2, 0.05),
}
"""The published difficulties, which are not to be compared with each other.

``ring:d2gan``: D2GAN's, MGAN's and Wu's (2022) ring, covariance 0.02 I, which is a sigma of 0.1414. ``ring:unrolled``:
Unrolled GAN's. ``ring:veegan`` and ``grid:veegan``: VEEGAN's and PacGAN's.
"""


def load_points(name: str) -> RealData:
    """Return one of :data:`CLOUDS` as images of two pixels, int32 of 0..2^20, each drawn from a mode by lot.

    The papers draw new points for every batch; here they are 100,000 that stay the same, as PacGAN's. The numbers come
    from NumPy's Mersenne Twister, whose stream is frozen, so that they are the same everywhere.

    Args:
        name: A key of :data:`CLOUDS`.
    """
    cloud = CLOUDS[name]
    drawn = np.random.RandomState(SPLIT_SEED)
    labels = drawn.randint(len(cloud.centres), size=sum(SIZES))
    coordinates = np.array(cloud.centres)[labels] + cloud.sigma * drawn.standard_normal((len(labels), 2))
    levels = np.rint((coordinates / cloud.extent + 1) / 2 * LEVELS[torch.int32]).clip(0, LEVELS[torch.int32])
    images = torch.from_numpy(levels.astype(np.int32)).view(-1, *SHAPE)
    parts = zip(images.split(SIZES), torch.from_numpy(labels.astype(np.int64)).split(SIZES), strict=True)
    train, validation, test = (Split(one.clone(), other.clone()) for one, other in parts)
    names = tuple(f"mode {mode}" for mode in range(len(cloud.centres)))
    return RealData(Description(name, names, SHAPE, in_coordinates(cloud), cloud), train, validation, test)


def in_coordinates(cloud: Cloud) -> Normalisation:
    """Return the normalisation in which networks see and make coordinates as they are."""
    return Normalisation((0.5, 0.5), (0.5 / cloud.extent, 0.5 / cloud.extent))
