"""Stacked digits: three digits of another data set as the channels of one picture, a thousand modes that are known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.data.split import SPLIT_SEED

DIGITS = 10
CHANNELS = 3
BASES = {"stacked-digits": "digits", "stacked-mnist": "mnist"}
"""The data set whose pictures are stacked."""
SIZES = {"stacked-digits": (20_000, 2_000, 26_000), "stacked-mnist": (128_000, 5_000, 26_000)}
"""Train, validation and test; of MNIST the 128,000 of VEEGAN and PacGAN, and as many test triples as they generate."""


def stack(base: RealData, name: str) -> RealData:
    """Return triples of a data set's pictures, each part drawn with repetition from the same part of it.

    Which pictures are stacked is drawn from NumPy's Mersenne Twister with the constant seed of all splits. A class is
    the number that the three digits make, the first channel's first.

    Args:
        base: Grey pictures of ten classes.
        name: A key of :data:`BASES`.
    """
    drawn = np.random.RandomState(SPLIT_SEED)

    def part(split: Split, count: int) -> Split:
        index = torch.from_numpy(drawn.randint(len(split), size=(count, CHANNELS)))
        return Split(split.images[index, 0], number_of(split.labels[index]))

    splits = (base.train, base.validation, base.test)
    train, validation, test = (part(split, count) for split, count in zip(splits, SIZES[name], strict=True))
    own = base.description
    normalisation = Normalisation(own.normalisation.mean * CHANNELS, own.normalisation.std * CHANNELS)
    names = tuple(f"{triple:03d}" for triple in range(DIGITS**CHANNELS))
    described = Description(name, names, (CHANNELS, *own.image_shape[1:]), normalisation)
    return RealData(described, train, validation, test, notes=base.notes)


def number_of(digits: Tensor) -> Tensor:
    """Return the class (N,) of digits (N, 3)."""
    return (digits * torch.tensor([100, 10, 1], device=digits.device)).sum(1)


def digits_of(numbers: Tensor) -> Tensor:
    """Return the digits (N, 3) of classes (N,)."""
    return torch.stack((numbers // 100, numbers // 10 % 10, numbers % 10), 1)


def channels_of(data: RealData, most: int = 20_000) -> RealData:
    """Return the channels of stacked digits as grey pictures of ten classes, of each part's first triples.

    Args:
        data: Stacked digits.
        most: Triples of a part that are taken.
    """

    def part(split: Split) -> Split:
        images, numbers = split.images[:most], split.labels[:most]
        return Split(images.flatten(0, 1)[:, None].contiguous(), digits_of(numbers).flatten().contiguous())

    own = data.description
    normalisation = Normalisation(own.normalisation.mean[:1], own.normalisation.std[:1])
    names = tuple(str(digit) for digit in range(DIGITS))
    described = Description(f"{own.name} channel", names, (1, *own.image_shape[1:]), normalisation)
    return RealData(described, part(data.train), part(data.validation), part(data.test))
