"""Learners: the classifiers that a teacher is judged by, as in the papers on data set condensation.

Every learner maps normalised images (N, C, H, W) to logits (N, K); ``features`` gives the flat vector before the last
linear layer. Weights are drawn by torch's defaults, as in the papers' code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.description import Description
from gendistill.errors import UserError, did_you_mean
from gendistill.nets.pooling import AveragePool
from gendistill.objects import build, laid_over
from gendistill.untrusted import Spec, UntrustedSpec

NORMALISATIONS = ("instance", "batch", "layer", "group", "none")
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
}
POOLINGS = ("average", "max", "none")


class Learner(nn.Module, ABC):
    """A classifier that ends in one linear layer.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.

    Raises:
        UserError: Fewer than two classes, or a shape without pixels.
    """

    classifier: nn.Linear

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        if num_classes < 2:
            raise UserError(f"num_classes is {num_classes}; a classifier needs at least 2")
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise UserError(f"image_shape is {tuple(image_shape)}; give (channels, height, width), each at least 1")
        self.num_classes = num_classes
        self.image_shape = (int(image_shape[0]), int(image_shape[1]), int(image_shape[2]))

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the vectors (N, F) that the last linear layer sees for images (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) for images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits


def check_word(kind: str, name: str, allowed: Collection[str]) -> None:
    """Refuse a word that is not among those allowed.

    Raises:
        UserError: Names the kind of word, the word and what is allowed.
    """
    if name not in allowed:
        raise UserError(f"unknown {kind} '{name}'; {did_you_mean(name, allowed)}choose among: {', '.join(allowed)}")


def normalisation_layer(name: str, channels: int, side: tuple[int, int]) -> nn.Module:
    """Return the layer that one of :data:`NORMALISATIONS` stands for, for maps (N, channels, *side)."""
    if name == "instance":
        return nn.GroupNorm(channels, channels)
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "layer":
        return nn.LayerNorm((channels, *side))
    return nn.GroupNorm(4, channels) if name == "group" else nn.Identity()


def _pool(name: str, side: tuple[int, int]) -> nn.Module:
    if name == "average":
        return AveragePool(side)
    return nn.MaxPool2d(2) if name == "max" else nn.Identity()


class ConvNet(Learner):
    """The condensation papers' network: ``depth`` times convolution, normalisation, activation, pooling 2x2.

    28x28 images get a first padding of 3, so that they meet the same 32x32 maps as 32x32 images (320,010 parameters for
    3x32x32 and 317,706 for 1x28x28 at the default width and depth).

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        width: Channels of every block, at least 1 (a multiple of 4 for ``normalisation="group"``).
        depth: Number of blocks, at least 1; with pooling each halves the map.
        normalisation: ``instance`` (one group a channel), ``batch``, ``layer``, ``group`` (four groups) or ``none``.
        activation: ``relu``, ``leaky_relu``, ``sigmoid``, ``tanh``, ``swish`` or ``gelu``.
        pooling: ``average``, ``max`` or ``none``.
        kernel_size: Side of the filters, odd; maps keep their size. The papers have 3.

    Raises:
        UserError: An unknown word, an even filter, or more poolings than the image's side allows.

    Source:
        Zhao, Mopuri, Bilen 2021, "Dataset Condensation with Gradient Matching", Sec. 4, after Gidaris & Komodakis 2018.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        width: int = 128,
        depth: int = 3,
        normalisation: str = "instance",
        activation: str = "relu",
        pooling: str = "average",
        kernel_size: int = 3,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if width < 1 or depth < 1:
            raise UserError(f"width is {width} and depth {depth}; both must be at least 1")
        if normalisation == "group" and width % 4:
            raise UserError(f"normalisation 'group' makes 4 groups, width {width} does not divide; use a multiple of 4")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise UserError(f"kernel_size is {kernel_size}; a filter that keeps the map's size has an odd side")
        check_word("normalisation", normalisation, NORMALISATIONS)
        check_word("activation", activation, ACTIVATIONS)
        check_word("pooling", pooling, POOLINGS)
        channels, height, columns = self.image_shape
        grown = 2 if (height, columns) == (28, 28) else 0
        side = (height + 2 * grown, columns + 2 * grown)
        if pooling != "none" and min(side) < 2**depth:
            deepest = min(side).bit_length() - 1
            raise UserError(
                f"ConvNet of depth {depth} halves a {height}x{columns} image {depth} times and nothing is left; "
                f"use {f'depth {deepest} or less, or ' if deepest else ''}pooling: none"
            )
        blocks: list[nn.Module] = []
        for block in range(depth):
            blocks += [
                nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2 + (0 if block else grown)),
                normalisation_layer(normalisation, width, side),
                ACTIVATIONS[activation](),
                _pool(pooling, side),
            ]
            channels = width
            if pooling != "none":
                side = (side[0] // 2, side[1] // 2)
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(width * side[0] * side[1], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the flat last maps (N, F) of images (N, C, H, W)."""
        return torch.flatten(self.blocks(x), 1)


class MLP(Learner):
    """Hidden layers of equal width on the flat image; two of rectified units where nothing else is said.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        width: Units of each hidden layer, at least 1.
        depth: Number of hidden layers, at least 1.
        activation: ``relu``, ``leaky_relu``, ``sigmoid``, ``tanh``, ``swish`` or ``gelu``.

    Raises:
        UserError: A number under 1, or an unknown activation.

    Source:
        Zhao, Mopuri, Bilen 2021, Sec. 4 (MLP of 128-128).
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        width: int = 128,
        depth: int = 2,
        activation: str = "relu",
    ) -> None:
        super().__init__(num_classes, image_shape)
        if width < 1 or depth < 1:
            raise UserError(f"width is {width} and depth {depth}; both must be at least 1")
        check_word("activation", activation, ACTIVATIONS)
        sizes = [math.prod(self.image_shape), *[width] * depth]
        self.hidden = nn.ModuleList([nn.Linear(size, width) for size in sizes[:-1]])
        self.activation = ACTIVATIONS[activation]()
        self.classifier = nn.Linear(width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden layer (N, width) for images (N, C, H, W)."""
        x = torch.flatten(x, 1)
        for layer in self.hidden:
            x = self.activation(layer(x))
        return x


class LeNet(Learner):
    """LeNet-5 with rectified units and max pooling: conv 6, conv 16, then 120 and 84 units.

    Maps of 28x28 and 32x32 images are those of the papers (16 maps of 5x5). Smaller images, down to 4x4, are padded so
    that the 5x5 filters fit.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images, sides at least 4.

    Raises:
        UserError: A side under 4 pixels.

    Source:
        LeCun et al. 1998, as used by Zhao, Mopuri, Bilen 2021, Sec. 4.
    """

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        channels, height, columns = self.image_shape
        if min(height, columns) < 4:
            raise UserError(f"LeNet pools twice, a {height}x{columns} image is too small; sides must be at least 4")
        first = 0 if min(height, columns) >= 32 else 2
        side = [(size + 2 * first - 4) // 2 for size in (height, columns)]
        second = 0 if min(side) >= 10 else 2
        side = [(size + 2 * second - 4) // 2 for size in side]
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(channels, 6, 5, padding=first), nn.Conv2d(6, 16, 5, padding=second)]
        )
        self.hidden = nn.ModuleList([nn.Linear(16 * side[0] * side[1], 120), nn.Linear(120, 84)])
        self.classifier = nn.Linear(84, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the 84 units (N, 84) before the last layer for images (N, C, H, W)."""
        for convolution in self.convolutions:
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        x = torch.flatten(x, 1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return x


def build_learner(spec: Spec, **sizes: Any) -> nn.Module:
    """Build a learner: any network of a person's choice, of what a file names a :class:`Learner` of this project alone.

    Args:
        spec: What names it.
        **sizes: ``num_classes`` and ``image_shape`` of the data set.

    Raises:
        UserError: See :func:`gendistill.objects.build`.
    """
    base: type[nn.Module] = Learner if isinstance(spec, UntrustedSpec) else nn.Module
    return build(spec, base, **sizes)


def default_learner(description: Description) -> dict[str, Any]:
    """Return the spec of the learner that judges teachers of a data set when none is named.

    Images of 28x28 pixels and more get the papers' ConvNet of width 128 (depth 3; 4 from 64 pixels on, 5 from 128 on);
    smaller ones a narrower net of depth 2 (8x8: width 32), which leaves them maps to look at. Sentences get the
    convolutional network of :mod:`gendistill.nets.text`, of width 100 as published, or 32 for vectors under 50 numbers.
    Points get two hidden layers of 64 units.

    Args:
        description: The data set.

    Returns:
        ``{"class_path": ..., "init_args": {"width": ..., "depth": ...}}`` for :func:`gendistill.objects.build`;
        of sentences without ``depth``.
    """
    if description.embedding is not None:
        width = 32 if description.image_shape[2] < 50 else 100
        return {"class_path": "gendistill.nets.text.TextConvNet", "init_args": {"width": width}}
    if description.cloud is not None:
        return {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 64, "depth": 2}}
    side = min(description.image_shape[1:])
    width = 32 if side < 16 else 64 if side < 28 else 128
    depth = 1 if side < 4 else 2 if side < 28 else 3 if side < 64 else 4 if side < 128 else 5
    return {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": width, "depth": depth}}


def learner_for(spec: Spec | None, description: Description) -> Any:
    """Return the learner that is asked for, arguments without a class laid over those of the default.

    Args:
        spec: What names it; None: the default.
        description: The data set.
    """
    return laid_over(spec, default_learner(description))
