"""SN-ResNet GAN with conditional batch norm and a projection discriminator, for any square size and channel count.

Tables C.2 and C.3, Bradley 2020 (torch-mimicry's cGAN-PD at 32x32); Miyato and Koyama 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.base import BaseConditionalDiscriminator, BaseConditionalGenerator
from gendistill.nets.layers import BatchNorm2d, SNEmbedding, SNLinear, quick_format
from gendistill.nets.resblocks import GBlock, discriminator_blocks, fit_bottom_width, plain_conv, square_size


class CGANPDGenerator(BaseConditionalGenerator):
    """Linear, up-sampling residual blocks with conditional batch norm, batch norm, ReLU, convolution, tanh.

    Args:
        num_classes: Number of classes.
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
        num_classes: int,
        image_shape: tuple[int, int, int],
        nz: int = 128,
        ngf: int = 256,
        bottom_width: int | None = None,
        loss_type: str = "hinge",
        upsampling: str = "bilinear",
    ) -> None:
        width, doublings = fit_bottom_width(square_size(image_shape), bottom_width)
        super().__init__(num_classes=num_classes, nz=nz, ngf=ngf, bottom_width=width, loss_type=loss_type)
        self.linear = nn.Linear(nz, width * width * ngf)
        nn.init.xavier_uniform_(self.linear.weight)
        self.blocks = nn.ModuleList(GBlock(ngf, ngf, num_classes, upsampling) for _ in range(doublings))
        self.norm = BatchNorm2d(ngf)
        self.conv = plain_conv(ngf, image_shape[0], 3)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Generate images.

        Args:
            x: Latents (N, nz).
            y: Class indices (N,).

        Returns:
            Images (N, C, S, S) in [-1, 1].

        Raises:
            UserError: No labels were given.
        """
        if y is None:
            raise UserError("a conditional generator needs class indices; use generate_images to have them drawn")
        h = self.linear(x).view(len(x), self.ngf, self.bottom_width, self.bottom_width)
        h = quick_format(h, self)
        for block in self.blocks:
            h = block(h, y)
        return torch.tanh(self.conv(torch.relu(self.norm(h)))).contiguous()


class CGANPDDiscriminator(BaseConditionalDiscriminator):
    """Residual blocks with spectral norm, ReLU, sum over pixels, linear plus the projection on the class's embedding.

    Args:
        num_classes: Number of classes.
        image_shape: (C, S, S) in pixels, S at least 4.
        ndf: Width of the feature maps.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
        downsamplings: How many blocks halve the image; when not given, until it is at most 8 pixels wide (at least
            one): 2 for 28 and 32, 3 for 48 and 64, 1 for 8 and 16.
        plain_blocks: How many blocks without down-sampling follow.
        shortcut_relu: See :class:`~gendistill.nets.resblocks.DBlock`; ``True`` equals torch-mimicry.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        ndf: int = 128,
        loss_type: str = "hinge",
        downsamplings: int | None = None,
        plain_blocks: int = 2,
        shortcut_relu: bool = False,
    ) -> None:
        super().__init__(num_classes=num_classes, ndf=ndf, loss_type=loss_type)
        self.blocks = discriminator_blocks(image_shape, ndf, downsamplings, plain_blocks, shortcut_relu)
        self.linear = SNLinear(ndf, 1)
        self.embedding = SNEmbedding(num_classes, ndf)

    def features(self, x: Tensor) -> Tensor:
        """Return the summed features (N, ndf) of images (N, C, S, S)."""
        features: Tensor = torch.relu(self.blocks(quick_format(x, self))).sum((2, 3))
        return features

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Judge images.

        Args:
            x: Images (N, C, S, S).
            y: Class indices (N,).

        Returns:
            Logits (N, 1).

        Raises:
            UserError: No labels were given.
        """
        if y is None:
            raise UserError("a projection discriminator needs the class index of every image")
        h = self.features(x)
        logits: Tensor = self.linear(h) + (self.embedding(y) * h).sum(1, keepdim=True)
        return logits
