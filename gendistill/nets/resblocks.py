"""Residual blocks of the SN-ResNet GANs, Miyato et al. 2018, appendix B.4.

Two orders differ from the usual code and save work without changing the function: a 1x1 convolution commutes with
averaging and with interpolation (both are weighted means), so the shortcut convolves at the smaller size; and a
convolution with the averaging behind it, or with repeated pixels before it, is one convolution of fewer products, see
:func:`~gendistill.nets.layers.pooled_conv`. ReLUs are not in place, so that a hook may keep what it sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.layers import BatchNorm2d, ConditionalBatchNorm2d, SNConv2d, doubled_conv, pooled_conv
from gendistill.spelling import argument, option

UPSAMPLINGS = ("bilinear", "nearest")
FOLDERS = "the images of a folder"


def plain_conv(in_channels: int, out_channels: int, size: int, gain: float = 1.0) -> nn.Conv2d:
    """Return a Xavier-initialised convolution that keeps height and width."""
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2)
    nn.init.xavier_uniform_(conv.weight, gain)
    return conv


def spectral_conv(in_channels: int, out_channels: int, size: int, gain: float = 1.0) -> nn.Conv2d:
    """Return the same with its weight divided by its largest singular value."""
    return SNConv2d(in_channels, out_channels, size, padding=size // 2, gain=gain)


def upsample(x: Tensor, mode: str) -> Tensor:
    """Double height and width of (N, C, H, W)."""
    return F.interpolate(x, scale_factor=2, mode=mode, align_corners=False if mode == "bilinear" else None)


class GBlock(nn.Module):
    """Generator block: norm, ReLU, upsample, conv, norm, ReLU, conv, plus a 1x1 shortcut on the raw input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_classes: With 0 the norms are plain, otherwise conditional.
        upsampling: ``bilinear`` (torch-mimicry, the thesis) or ``nearest`` (the paper).

    Raises:
        UserError: Unknown ``upsampling``.
    """

    def __init__(self, in_channels: int, out_channels: int, num_classes: int = 0, upsampling: str = "bilinear") -> None:
        super().__init__()
        if upsampling not in UPSAMPLINGS:
            raise UserError(f"upsampling '{upsampling}' is not known; use one of {', '.join(UPSAMPLINGS)}")
        self.upsampling = upsampling
        self.num_classes = num_classes
        self.conv1 = plain_conv(in_channels, out_channels, 3, math.sqrt(2))
        self.conv2 = plain_conv(out_channels, out_channels, 3, math.sqrt(2))
        self.norm1: nn.Module
        self.norm2: nn.Module
        if num_classes:
            self.norm1 = ConditionalBatchNorm2d(in_channels, num_classes)
            self.norm2 = ConditionalBatchNorm2d(out_channels, num_classes)
        else:
            self.norm1 = BatchNorm2d(in_channels)
            self.norm2 = BatchNorm2d(out_channels)
        self.shortcut = plain_conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (N, in_channels, H, W) and classes (N,) to (N, out_channels, 2H, 2W)."""
        labels = () if y is None or not self.num_classes else (y,)
        h = F.relu(self.norm1(x, *labels))
        h = doubled_conv(self.conv1, h) if self.upsampling == "nearest" else self.conv1(upsample(h, self.upsampling))
        h = self.conv2(F.relu(self.norm2(h, *labels)))
        return h + upsample(self.shortcut(x), self.upsampling)


class DBlock(nn.Module):
    """Discriminator block: ReLU, conv, ReLU, conv, average pool, plus a shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        downsample: Halve height and width.
        first: The block sees pixels, so it has no ReLU in front.
        shortcut_relu: Feed the shortcut ReLU(x) and not x. torch-mimicry does, because its in-place ReLU overwrites the
            block's input; the paper's code does not.
        spectral: Divide each weight by its largest singular value; without it the block is that of WGAN-GP.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        downsample: bool = False,
        first: bool = False,
        shortcut_relu: bool = False,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        make = spectral_conv if spectral else plain_conv
        hidden = out_channels if first else in_channels
        self.downsample = downsample
        self.first = first
        self.shortcut_relu = shortcut_relu and not first
        self.conv1 = make(in_channels, hidden, 3, math.sqrt(2))
        self.conv2 = make(hidden, out_channels, 3, math.sqrt(2))
        changes = downsample or in_channels != out_channels
        self.shortcut: nn.Module = make(in_channels, out_channels, 1) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W), or half of H and W."""
        active = x if self.first else F.relu(x)
        h = F.relu(self.conv1(active))
        h = pooled_conv(self.conv2, h) if self.downsample else self.conv2(h)
        x = active if self.shortcut_relu else x
        return h + self.shortcut(F.avg_pool2d(x, 2) if self.downsample else x)


def fit_bottom_width(size: int, bottom_width: int | None = None) -> tuple[int, int]:
    """Return the width of the first feature map and how often it must be doubled to reach ``size``.

    Args:
        size: Height and width of the image in pixels.
        bottom_width: The wish; when not given, ``size`` is halved once, and on while it stays whole and at least 4: 8,
            16, 32 and 64 start at 4, 28 at 7, 48 at 6.

    Raises:
        UserError: No power of two leads from ``bottom_width`` to ``size``, or none from any width.
    """
    halvings = [size >> times for times in range(1, size.bit_length()) if size % (1 << times) == 0]
    if not halvings:
        near = other_sizes(size, 2) if bottom_width is None else f"bring {FOLDERS} to {_doubled(bottom_width, size)}"
        raise UserError(f"images of {size}x{size} pixels cannot be made by doubling, for the number is odd; {near}")
    if bottom_width is None:
        bottom_width = next((width for width in reversed(halvings) if width >= 4), halvings[0])
    if bottom_width not in halvings:
        raise UserError(
            f"images of {size}x{size} pixels do not go with bottom_width {bottom_width}, which is doubled until it is "
            f"the size of the image; choose {', '.join(map(str, halvings[:-1]))}{' or ' * (len(halvings) > 1)}"
            f"{halvings[-1]}, or leave it out{_typed('bottom_width', halvings)}"
        )
    return bottom_width, halvings.index(bottom_width) + 1


def other_sizes(size: int, factor: int) -> str:
    """Return the advice to bring images to the next sizes that a factor divides, as it can be followed here."""
    below, above = size // factor * factor, -(-size // factor) * factor
    sizes = f"{below} or {above}" if 0 < below < above else f"{above}"
    return f"bring {FOLDERS} to {sizes} pixels with {option('image_size')}"


def _doubled(width: int, size: int) -> str:
    """Return the next sizes that a first feature map of this width leads to, and how to ask for them."""
    above = 2 * width
    while above < size:
        above *= 2
    below = above // 2
    sizes = f"{below} or {above}" if 2 * width <= below else f"{above}"
    return f"{sizes} pixels with {option('image_size')}"


def _typed(name: str, values: Sequence[int]) -> str:
    """Return what can be typed to choose one of the values or to leave an argument out; nothing in a script."""
    written = argument(name)
    return "" if written == name else f": {written} {values[0]}, or null"


def square_size(image_shape: tuple[int, int, int]) -> int:
    """Return the side of square images.

    Raises:
        UserError: The shape is not (C, S, S) with C of at least 1.
    """
    if len(image_shape) != 3 or image_shape[0] < 1 or image_shape[1] != image_shape[2]:
        raise UserError(
            f"image_shape must be (C, S, S) with square images, got {tuple(image_shape)}; images of a folder are made "
            f"square by {option('image_size')}"
        )
    return int(image_shape[1])


def discriminator_blocks(
    image_shape: tuple[int, int, int],
    ndf: int,
    downsamplings: int | None = None,
    plain_blocks: int = 2,
    shortcut_relu: bool = False,
    spectral: bool = True,
) -> nn.Sequential:
    """Return the trunk of a discriminator: down-sampling blocks, then plain ones.

    Args:
        image_shape: (C, S, S) in pixels.
        ndf: Width of the feature maps.
        downsamplings: How many blocks halve the image; when not given, until it is at most 8 pixels wide, at least one:
            2 for 28 and 32, 3 for 48 and 64, 1 for 8 and 16.
        plain_blocks: How many blocks without down-sampling follow.
        shortcut_relu: See :class:`DBlock`.
        spectral: See :class:`DBlock`.

    Raises:
        UserError: The image is too small for so many halvings.
    """
    size = square_size(image_shape)
    if downsamplings is None:
        downsamplings = 1
        while size >> downsamplings > 8:
            downsamplings += 1
    if downsamplings < 1 or size >> downsamplings < 1:
        most = size.bit_length() - 1
        raise UserError(
            f"images of {size}x{size} pixels cannot be halved {downsamplings} times; "
            + (f"let downsamplings be 1 to {most}" if most else other_sizes(size, 2))
        )
    make = partial(DBlock, shortcut_relu=shortcut_relu, spectral=spectral)
    return nn.Sequential(
        make(image_shape[0], ndf, downsample=True, first=True),
        *(make(ndf, ndf, downsample=True) for _ in range(downsamplings - 1)),
        *(make(ndf, ndf) for _ in range(plain_blocks)),
    )
