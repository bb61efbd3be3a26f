"""The residual networks of WGAN-GP for any square size and channel count, with or without labels.

Gulrajani et al. 2017. They are SNGAN's (which took them over) but for three things: the critic's weights are free and
nothing in it is normalised, because the penalty looks at one image at a time; its last maps are averaged and not
summed; and up-sampling repeats pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.base import BaseConditionalDiscriminator, BaseDiscriminator
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.nets.layers import quick_format
from gendistill.nets.resblocks import discriminator_blocks
from gendistill.nets.sngan import SNGANGenerator

Shape = tuple[int, int, int]


class WGANGPGenerator(SNGANGenerator):
    """SNGAN's generator with the width and the up-sampling of WGAN-GP; see there for the arguments."""

    def __init__(
        self,
        image_shape: Shape,
        nz: int = 128,
        ngf: int = 128,
        bottom_width: int | None = None,
        loss_type: str = "wasserstein",
        upsampling: str = "nearest",
    ) -> None:
        super().__init__(image_shape, nz, ngf, bottom_width, loss_type, upsampling)


class ConditionalWGANGPGenerator(CGANPDGenerator):
    """The same with conditional batch norm; see :class:`~gendistill.nets.cgan_pd.CGANPDGenerator`."""

    def __init__(
        self,
        num_classes: int,
        image_shape: Shape,
        nz: int = 128,
        ngf: int = 128,
        bottom_width: int | None = None,
        loss_type: str = "wasserstein",
        upsampling: str = "nearest",
    ) -> None:
        super().__init__(num_classes, image_shape, nz, ngf, bottom_width, loss_type, upsampling)


class CriticTrunk(nn.Module):
    """Residual blocks without normalisation, ReLU, mean over pixels.

    Args:
        image_shape: (C, S, S) in pixels.
        ndf: Width of the feature maps.
        downsamplings: See :func:`~gendistill.nets.resblocks.discriminator_blocks`.
        plain_blocks: How many blocks without down-sampling follow.
    """

    def __init__(self, image_shape: Shape, ndf: int, downsamplings: int | None, plain_blocks: int) -> None:
        super().__init__()
        self.blocks = discriminator_blocks(image_shape, ndf, downsamplings, plain_blocks, spectral=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, S, S) to features (N, ndf)."""
        features: Tensor = torch.relu(self.blocks(quick_format(x, self))).mean((2, 3))
        return features


class WGANGPDiscriminator(BaseDiscriminator):
    """The critic: residual blocks, ReLU, mean over pixels, linear.

    Args:
        image_shape: (C, S, S) in pixels.
        ndf: Width of the feature maps.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
        downsamplings: See :func:`~gendistill.nets.resblocks.discriminator_blocks`.
        plain_blocks: How many blocks without down-sampling follow.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        image_shape: Shape,
        ndf: int = 128,
        loss_type: str = "wasserstein",
        downsamplings: int | None = None,
        plain_blocks: int = 2,
    ) -> None:
        super().__init__(ndf=ndf, loss_type=loss_type)
        self.features = CriticTrunk(image_shape, ndf, downsamplings, plain_blocks)
        self.linear = nn.Linear(ndf, 1)
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map images (N, C, S, S) to scores (N, 1); labels are ignored."""
        scores: Tensor = self.linear(self.features(x))
        return scores


class ConditionalWGANGPDiscriminator(BaseConditionalDiscriminator):
    """The critic with a projection on the class's embedding (Miyato and Koyama 2018); arguments as without labels.

    Args:
        num_classes: Number of classes.
        image_shape: (C, S, S) in pixels.
        ndf: Width of the feature maps.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
        downsamplings: See :func:`~gendistill.nets.resblocks.discriminator_blocks`.
        plain_blocks: How many blocks without down-sampling follow.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Shape,
        ndf: int = 128,
        loss_type: str = "wasserstein",
        downsamplings: int | None = None,
        plain_blocks: int = 2,
    ) -> None:
        super().__init__(num_classes=num_classes, ndf=ndf, loss_type=loss_type)
        self.features = CriticTrunk(image_shape, ndf, downsamplings, plain_blocks)
        self.linear = nn.Linear(ndf, 1)
        nn.init.xavier_uniform_(self.linear.weight)
        self.embedding = nn.Embedding(num_classes, ndf)
        nn.init.xavier_uniform_(self.embedding.weight)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map images (N, C, S, S) and class indices (N,) to scores (N, 1).

        Raises:
            UserError: No labels were given.
        """
        if y is None:
            raise UserError("a projection discriminator needs the class index of every image")
        h = self.features(x)
        scores: Tensor = self.linear(h) + (self.embedding(y) * h).sum(1, keepdim=True)
        return scores
