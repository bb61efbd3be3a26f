"""DCGAN, strided convolutions and batch norm, for any square size and channel count, with or without labels.

Radford, Metz, Chintala 2016. Labels are told as in Mirza and Osindero 2014: one-hot, beside the latent for the
generator and as constant maps beside the image for the discriminator, or by a projection.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.base import (
    BaseConditionalDiscriminator,
    BaseConditionalGenerator,
    BaseDiscriminator,
    BaseGenerator,
)
from gendistill.nets.layers import BatchNorm2d, quick_format
from gendistill.nets.resblocks import fit_bottom_width, square_size

Shape = tuple[int, int, int]
CONDITIONINGS = ("maps", "projection")


class GeneratorTrunk(nn.Module):
    """Linear, then doublings by 4x4 transposed convolutions, each but the last followed by batch norm and ReLU; tanh.

    Args:
        inputs: Size of the input vector.
        image_shape: (C, S, S) in pixels.
        ngf: Channels of the largest hidden maps; each smaller size has twice as many.
        bottom_width: Height and width of the first feature map; S is this times a power of two.
    """

    def __init__(self, inputs: int, image_shape: Shape, ngf: int, bottom_width: int) -> None:
        super().__init__()
        _, doublings = fit_bottom_width(square_size(image_shape), bottom_width)
        self.bottom = (ngf * 2 ** (doublings - 1), bottom_width, bottom_width)
        # No bias in front of a batch norm, which would take it away again.
        self.linear = nn.Linear(inputs, self.bottom[0] * bottom_width**2, bias=False)
        layers: list[nn.Module] = [BatchNorm2d(self.bottom[0]), nn.ReLU()]
        for level in reversed(range(doublings - 1)):
            width = ngf * 2**level
            layers += [nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(ngf, image_shape[0], 4, 2, 1), nn.Tanh())
        self.apply(draw_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs) to images (N, C, S, S) in [-1, 1]."""
        maps = quick_format(self.linear(x).view(-1, *self.bottom), self)
        images: Tensor = self.layers(maps)
        return images.contiguous()


class DiscriminatorTrunk(nn.Module):
    """Halvings by 4x4 convolutions and leaky ReLU (0.2), batch norm from the second on; linear.

    Args:
        channels: Of the input.
        size: Its height and width in pixels.
        ndf: Channels after the first convolution; each further one doubles them.
        bottom_width: Height and width of the last feature map; ``size`` is this times a power of two.
        norm: ``batch`` or ``none``.

    Raises:
        UserError: Unknown ``norm``, or no power of two leads from ``bottom_width`` to ``size``.
    """

    def __init__(self, channels: int, size: int, ndf: int, bottom_width: int | None, norm: str) -> None:
        super().__init__()
        if norm not in ("batch", "none"):
            raise UserError(f"norm is '{norm}'; use batch or none")
        width, halvings = fit_bottom_width(size, bottom_width)
        layers: list[nn.Module] = []
        for level in range(halvings):
            normalised = level > 0 and norm == "batch"
            inputs, outputs = (ndf * 2 ** (level - 1) if level else channels), ndf * 2**level
            layers.append(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not normalised))
            layers += [BatchNorm2d(outputs)] if normalised else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(ndf * 2 ** (halvings - 1) * width**2, 1)
        self.apply(draw_weights)

    def features(self, x: Tensor) -> Tensor:
        """Return the last maps (N, F), flat, of (N, channels, size, size)."""
        return torch.flatten(self.layers(quick_format(x, self)), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, size, size) to logits (N, 1)."""
        logits: Tensor = self.linear(self.features(x))
        return logits


def draw_weights(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), scales of batch norms from N(1, 0.02), and set biases to 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class DCGANGenerator(BaseGenerator):
    """DCGAN's generator; see :class:`GeneratorTrunk`.

    Args:
        image_shape: (C, S, S) in pixels; S is ``bottom_width`` times a power of two.
        nz: Size of a latent.
        ngf: Channels of the largest hidden maps; at 64 pixels the paper's 1024, 512, 256, 128 are ``ngf`` 128.
        bottom_width: Height and width of the first feature map; chosen from 4 to 7 when not given.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        image_shape: Shape,
        nz: int = 100,
        ngf: int = 64,
        bottom_width: int | None = None,
        loss_type: str = "gan",
    ) -> None:
        width, _ = fit_bottom_width(square_size(image_shape), bottom_width)
        super().__init__(nz=nz, ngf=ngf, bottom_width=width, loss_type=loss_type)
        self.trunk = GeneratorTrunk(nz, image_shape, ngf, width)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map latents (N, nz) to images (N, C, S, S) in [-1, 1]; labels are ignored."""
        images: Tensor = self.trunk(x)
        return images


class ConditionalDCGANGenerator(BaseConditionalGenerator):
    """DCGAN's generator with the one-hot class beside the latent; arguments as for :class:`DCGANGenerator`.

    Args:
        num_classes: Number of classes K.
        image_shape: (C, S, S) in pixels; S is ``bottom_width`` times a power of two.
        nz: Size of a latent.
        ngf: Channels of the largest hidden maps.
        bottom_width: Height and width of the first feature map; chosen from 4 to 7 when not given.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Shape,
        nz: int = 100,
        ngf: int = 64,
        bottom_width: int | None = None,
        loss_type: str = "gan",
    ) -> None:
        width, _ = fit_bottom_width(square_size(image_shape), bottom_width)
        super().__init__(num_classes=num_classes, nz=nz, ngf=ngf, bottom_width=width, loss_type=loss_type)
        self.trunk = GeneratorTrunk(nz + num_classes, image_shape, ngf, width)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map latents (N, nz) and class indices (N,) to images (N, C, S, S) in [-1, 1].

        Raises:
            UserError: No labels were given.
        """
        images: Tensor = self.trunk(torch.cat([x, one_hot(y, self.num_classes).to(x.dtype)], 1))
        return images


class DCGANDiscriminator(BaseDiscriminator):
    """DCGAN's discriminator; see :class:`DiscriminatorTrunk`.

    Args:
        image_shape: (C, S, S) in pixels; S is ``bottom_width`` times a power of two.
        ndf: Channels after the first convolution.
        bottom_width: Height and width of the last feature map; chosen from 4 to 7 when not given.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
        norm: ``batch``; ``none`` for a gradient penalty, which must see every image by itself.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        image_shape: Shape,
        ndf: int = 64,
        bottom_width: int | None = None,
        loss_type: str = "gan",
        norm: str = "batch",
    ) -> None:
        super().__init__(ndf=ndf, loss_type=loss_type)
        self.trunk = DiscriminatorTrunk(image_shape[0], square_size(image_shape), ndf, bottom_width, norm)

    def features(self, x: Tensor) -> Tensor:
        """Return the last maps (N, F), flat, of images (N, C, S, S)."""
        return self.trunk.features(x)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map images (N, C, S, S) to logits (N, 1); labels are ignored."""
        logits: Tensor = self.trunk(x)
        return logits


class ConditionalDCGANDiscriminator(BaseConditionalDiscriminator):
    """DCGAN's discriminator that is told the class of an image.

    Args:
        num_classes: Number of classes K.
        image_shape: (C, S, S) in pixels; S is ``bottom_width`` times a power of two.
        ndf: Channels after the first convolution.
        bottom_width: Height and width of the last feature map; chosen from 4 to 7 when not given.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.
        norm: ``batch``; ``none`` for a gradient penalty, which must see every image by itself.
        conditioning: ``maps``: a constant map a class beside the image, of which one is 1 and the others are 0; or
            ``projection``: the class's own weights of the last maps are added to those of all classes (Miyato & Koyama
            2018, "cGANs with Projection Discriminator"), which learns classes in fewer steps.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: Shape,
        ndf: int = 64,
        bottom_width: int | None = None,
        loss_type: str = "gan",
        norm: str = "batch",
        conditioning: str = "maps",
    ) -> None:
        super().__init__(num_classes=num_classes, ndf=ndf, loss_type=loss_type)
        if conditioning not in CONDITIONINGS:
            raise UserError(f"conditioning is '{conditioning}'; use one of {', '.join(CONDITIONINGS)}")
        channels = image_shape[0] + (num_classes if conditioning == "maps" else 0)
        self.trunk = DiscriminatorTrunk(channels, square_size(image_shape), ndf, bottom_width, norm)
        self.projection: nn.Linear | None = None
        if conditioning == "projection":
            self.projection = nn.Linear(self.trunk.linear.in_features, num_classes, bias=False)
            draw_weights(self.projection)

    def features(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the last maps (N, F), flat, of images (N, C, S, S) with class indices (N,)."""
        if self.projection is not None:
            return self.trunk.features(x)
        maps = one_hot(y, self.num_classes).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.trunk.features(torch.cat([x, maps], 1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map images (N, C, S, S) and class indices (N,) to logits (N, 1).

        Raises:
            UserError: No labels were given.
        """
        features = self.features(x, y)
        logits: Tensor = self.trunk.linear(features)
        if self.projection is None:
            return logits
        own = one_hot(y, self.num_classes).to(features.dtype)
        return logits + (self.projection(features) * own).sum(1, keepdim=True)


def one_hot(y: Tensor | None, num_classes: int) -> Tensor:
    """Return class indices (N,) as (N, K).

    Raises:
        UserError: No labels were given.
    """
    if y is None:
        raise UserError("a conditional network needs the class index of every image; give it labels (N,)")
    # Not torch's own, which looks at the values: a GPU would be waited for, and vmap refuses it.
    return (y[:, None] == torch.arange(num_classes, device=y.device)).to(torch.int64)
