"""SN-ResNet GAN without labels (SNGAN), for any square size and channel count; Miyato et al. 2018."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gendistill.nets.base import BaseDiscriminator, BaseGenerator
from gendistill.nets.layers import BatchNorm2d, SNLinear, quick_format
from gendistill.nets.resblocks import GBlock, discriminator_blocks, fit_bottom_width, plain_conv, square_size


class SNGANGenerator(BaseGenerator):
    """Linear, up-sampling residual blocks, batch norm, ReLU, convolution, tanh.

    Args:
        image_shape: (C, S, S) in pixels; S is ``bottom_width`` times a power of two.
        nz: Size of a latent.
        ngf: Width of the feature maps.
        bottom_width: Height and width of the first feature map; chosen from 4 to 7 when not given.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
        upsampling: ``bilinear`` or ``nearest``.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        nz: int = 128,
        ngf: int = 256,
        bottom_width: int | None = None,
        loss_type: str = "hinge",
        upsampling: str = "bilinear",
    ) -> None:
        width, doublings = fit_bottom_width(square_size(image_shape), bottom_width)
        super().__init__(nz=nz, ngf=ngf, bottom_width=width, loss_type=loss_type)
        self.linear = nn.Linear(nz, width * width * ngf)
        nn.init.xavier_uniform_(self.linear.weight)
        self.blocks = nn.Sequential(*(GBlock(ngf, ngf, upsampling=upsampling) for _ in range(doublings)))
        self.norm = BatchNorm2d(ngf)
        self.conv = plain_conv(ngf, image_shape[0], 3)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map latents (N, nz) to images (N, C, S, S) in [-1, 1]; labels are ignored."""
        h = self.linear(x).view(len(x), self.ngf, self.bottom_width, self.bottom_width)
        h = self.blocks(quick_format(h, self))
        return torch.tanh(self.conv(torch.relu(self.norm(h)))).contiguous()


class SNGANDiscriminator(BaseDiscriminator):
    """Residual blocks with spectral norm, ReLU, sum over pixels, linear.

    Args:
        image_shape: (C, S, S) in pixels.
        ndf: Width of the feature maps.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
        downsamplings: See :func:`~gendistill.nets.resblocks.discriminator_blocks`.
        plain_blocks: How many blocks without down-sampling follow.
        shortcut_relu: See :class:`~gendistill.nets.resblocks.DBlock`; ``True`` equals torch-mimicry.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        ndf: int = 128,
        loss_type: str = "hinge",
        downsamplings: int | None = None,
        plain_blocks: int = 2,
        shortcut_relu: bool = False,
    ) -> None:
        super().__init__(ndf=ndf, loss_type=loss_type)
        self.blocks = discriminator_blocks(image_shape, ndf, downsamplings, plain_blocks, shortcut_relu)
        self.linear = SNLinear(ndf, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map images (N, C, S, S) to logits (N, 1); labels are ignored."""
        logits: Tensor = self.linear(torch.relu(self.blocks(quick_format(x, self))).sum((2, 3)))
        return logits
