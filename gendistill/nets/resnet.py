"""The residual classifier of 21 layers (18 in depth) that the GAN chapter of Bradley 2020 judges by, at any width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.learners import NORMALISATIONS, Learner, check_word, normalisation_layer

Side = tuple[int, int]


class ResNet(Learner):
    """Stem, max pooling, eight residual blocks, global average, linear layer: 11,173,962 parameters at 3x32x32.

    The stem is a 3x3 convolution of stride 1. The blocks have 1, 1, 2, 2, 4, 4, 8 and 8 times ``width`` channels; the
    3rd, 5th and 7th halve the map. Each convolution is followed by a normalisation; 17 of 3x3, 3 of 1x1 on the
    shortcuts, and the linear layer make the 21.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        width: Channels of the stem, at least 1 (a multiple of 4 for ``normalisation="group"``); 64 is published.
        normalisation: ``batch`` (published), ``instance``, ``layer``, ``group`` or ``none``; those other than ``batch``
            treat every image by itself.
        stem_pooling: Whether 3x3 max pooling follows the stem (published). Without it, and with ``instance`` or
            ``batch``, this is the ResNet18 of the condensation papers but for how weights are drawn.

    Raises:
        UserError: A value out of range, or an unknown word.

    Source:
        Table C.1, Bradley 2020, and the code that it names (weights after He et al. 2015, convolutions without bias).
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        width: int = 64,
        normalisation: str = "batch",
        stem_pooling: bool = True,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise UserError(f"width is {width!r}; give a whole number of at least 1")
        if normalisation == "group" and width % 4:
            raise UserError(f"normalisation 'group' makes 4 groups, width {width} does not divide; use a multiple of 4")
        check_word("normalisation", normalisation, NORMALISATIONS)
        channels, height, columns = self.image_shape
        self.stem = _conv(channels, width, 3)
        self.norm = normalisation_layer(normalisation, width, (height, columns))
        self.stem_pooling = stem_pooling
        side = _halved((height, columns)) if stem_pooling else (height, columns)
        blocks: list[nn.Module] = []
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            for stride in (1 if stage == 0 else 2, 1):
                side = _halved(side) if stride == 2 else side
                blocks.append(ResidualBlock(inputs, outputs, stride, normalisation, side))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the last maps' averages (N, 8 width) of images (N, C, H, W)."""
        x = F.relu(self.norm(self.stem(x)))
        if self.stem_pooling:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        averages: Tensor = self.blocks(x).mean((2, 3))
        return averages


class ResNet18(ResNet):
    """The ResNet18 of the condensation papers: the one above without max pooling, by default with instance norm.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        width: Channels of the stem; 64 is published.
        normalisation: See above; ``instance`` is DSA's and DM's, ``batch`` MTT's.

    Source:
        Zhao & Bilen 2021, Table 4; their code but for how weights are drawn.
    """

    def __init__(
        self, num_classes: int, image_shape: tuple[int, int, int], width: int = 64, normalisation: str = "instance"
    ) -> None:
        super().__init__(num_classes, image_shape, width, normalisation, stem_pooling=False)


class ResidualBlock(nn.Module):
    """Convolution, normalisation, ReLU, convolution, normalisation, plus a shortcut, ReLU; He et al. 2016.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution, and of the 1x1 one on the shortcut, which is there when the shape changes.
        normalisation: One of :data:`~gendistill.nets.learners.NORMALISATIONS`.
        side: (H, W) of the output.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, normalisation: str, side: Side) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels, 3, stride)
        self.norm1 = normalisation_layer(normalisation, out_channels, side)
        self.conv2 = _conv(out_channels, out_channels, 3)
        self.norm2 = normalisation_layer(normalisation, out_channels, side)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                _conv(in_channels, out_channels, 1, stride), normalisation_layer(normalisation, out_channels, side)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H * stride, W * stride) to (N, out_channels, H, W)."""
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


def _conv(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _halved(side: Side) -> Side:
    # Both a 3x3 step of 2 with padding 1 and a 1x1 step of 2 round up, so that no map is ever too small to halve.
    return (side[0] + 1) // 2, (side[1] + 1) // 2
