"""AlexNet and VGG11 for small images: learners that cross-architecture tables judge images of a ConvNet by.

As everywhere, 28x28 images get a first padding that lets them meet the maps of 32x32 images, and weights are drawn by
torch's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.learners import NORMALISATIONS, Learner, check_word, normalisation_layer

POOL = "pool"
Plan = Sequence[tuple[int, int] | str]
"""Convolutions as (channels, side of the filter), and poolings."""


class _Plain(Learner):
    """Convolutions with rectified units and max pooling in a line, then one linear layer.

    A pooling that would leave a later convolution a map under 2x2, where an instance norm sees nothing, is left out:
    images under 32x32 keep their maps larger for longer.
    """

    def __init__(
        self, num_classes: int, image_shape: tuple[int, int, int], plan: Plan, normalisation: str, unit: int
    ) -> None:
        super().__init__(num_classes, image_shape)
        if unit < 1:
            raise UserError(f"width is {unit}; give a whole number of at least 1")
        check_word("normalisation", normalisation, NORMALISATIONS)
        widths = [item[0] for item in plan if not isinstance(item, str)]
        if normalisation == "group" and any(width % 4 for width in widths):
            raise UserError(f"normalisation 'group' makes 4 groups, width {unit} does not divide; use a multiple of 4")
        channels, *side = self.image_shape
        if min(side) < 2:
            raise UserError(f"{type(self).__name__} pools its maps, a {side[0]}x{side[1]} image is too small; use 2x2")
        grown = 2 if tuple(side) == (28, 28) else 0
        layers: list[nn.Module] = []
        for place, item in enumerate(plan):
            if isinstance(item, str):
                last = place == len(plan) - 1
                if min(side) // 2 >= (1 if last else 2):
                    layers.append(nn.MaxPool2d(2))
                    side = [length // 2 for length in side]
                continue
            width, size = item
            layers.append(nn.Conv2d(channels, width, size, padding=size // 2 + grown))
            side = [length + 2 * grown for length in side]
            layers += [normalisation_layer(normalisation, width, (side[0], side[1])), nn.ReLU()]
            channels, grown = width, 0
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * side[0] * side[1], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the flat last maps (N, F) of images (N, C, H, W)."""
        return torch.flatten(self.layers(x), 1)


class AlexNet(_Plain):
    """Five convolutions, of 5x5, 5x5, 3x3, 3x3 and 3x3, with three poolings: 1,872,202 parameters at 3x32x32.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images, sides at least 2.
        width: Channels of the first layer; the others have 3/2, 2, 3/2 and 3/2 times as many. 128 is published; an even
            number.
        normalisation: ``none`` (published), ``batch`` ("AlexNetBN"), ``instance``, ``layer`` or ``group``.

    Raises:
        UserError: A value out of range, or an unknown word.

    Source:
        Krizhevsky et al. 2012, for small images as used by Zhao, Mopuri, Bilen 2021, Sec. 4.
    """

    def __init__(
        self, num_classes: int, image_shape: tuple[int, int, int], width: int = 128, normalisation: str = "none"
    ) -> None:
        if width % 2:
            raise UserError(f"width is {width}; AlexNet has layers of 3/2 times as many channels, give an even number")
        more = 3 * width // 2
        plan: Plan = [(width, 5), POOL, (more, 5), POOL, (2 * width, 3), (more, 3), (more, 3), POOL]
        super().__init__(num_classes, image_shape, plan, normalisation, width)


class VGG11(_Plain):
    """Eight convolutions of 3x3, each with a normalisation, and five poolings: 9,231,114 parameters at 3x32x32.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images, sides at least 2.
        width: Channels of the first layer, at least 1; the others have 2, 4, 4 and four times 8 times as many. 64 is
            published.
        normalisation: ``instance`` (published), ``batch`` ("VGG11BN"), ``layer``, ``group`` or ``none``.

    Raises:
        UserError: A value out of range, or an unknown word.

    Source:
        Simonyan & Zisserman 2015, configuration A, with one linear layer, as used by Zhao, Mopuri, Bilen 2021, Sec. 4.
    """

    def __init__(
        self, num_classes: int, image_shape: tuple[int, int, int], width: int = 64, normalisation: str = "instance"
    ) -> None:
        one, two, four, eight = ((factor * width, 3) for factor in (1, 2, 4, 8))
        plan: Plan = [one, POOL, two, POOL, four, four, POOL, eight, eight, POOL, eight, eight, POOL]
        super().__init__(num_classes, image_shape, plan, normalisation, width)
