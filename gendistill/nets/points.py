"""Networks of linear layers for points of the plane: the generators and discriminators of papers on mode collapse.

Points are images of two channels and one pixel. There is no tanh: a generator makes coordinates as they are.

=================  ===========================================  ==================================================
paper              generator                                    discriminator
=================  ===========================================  ==================================================
D2GAN's ring       ``widths: [128, 128], nz: 256``              ``widths: [128, 128]``
PacGAN, VEEGAN     ``widths: [400, 400, 400, 400], nz: 2,       ``widths: [200, 200, 200], maxout: 5,
                   normalisation: batch, init_std: 0.02``       init_std: 0.02``
Unrolled GAN       ``widths: [128, 128], nz: 256``              ``widths: [128, 128]``
=================  ===========================================  ==================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.cloud import SHAPE
from gendistill.errors import UserError
from gendistill.nets.base import (
    BaseConditionalDiscriminator,
    BaseConditionalGenerator,
    BaseDiscriminator,
    BaseGenerator,
    check_positive,
)
from gendistill.nets.layers import BatchNorm2d
from gendistill.nets.learners import ACTIVATIONS, check_word

Shape = tuple[int, int, int]


class Maxout(nn.Module):
    """The largest of several linear maps, unit by unit, Goodfellow et al. 2013.

    Args:
        inputs: Size of the input.
        outputs: Size of the output.
        pieces: Maps, at least 2.
    """

    def __init__(self, inputs: int, outputs: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(inputs, outputs * pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs) to (N, outputs)."""
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


class BatchNorm(BatchNorm2d):
    """Batch norm of vectors (N, F), over the union of the batches of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, F) per unit."""
        return super().forward(input[:, :, None, None]).flatten(1)


class LinearTrunk(nn.Sequential):
    """Hidden layers, each linear, batch norm if asked for and an activation (or maxout); then one linear layer.

    Args:
        inputs: Size of the input.
        widths: Units of each hidden layer, at least one.
        outputs: Size of the output.
        activation: One of :data:`gendistill.nets.learners.ACTIVATIONS`; not used with ``maxout``.
        normalisation: ``none`` or ``batch``; a layer in front of a batch norm has no bias.
        maxout: Pieces of a maxout layer, from 2; 0: the activation.
        init_std: Standard deviation of the weights at the start, with biases of 0; None: torch's own start.

    Raises:
        UserError: A value is out of range.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        outputs: int,
        activation: str = "relu",
        normalisation: str = "none",
        maxout: int = 0,
        init_std: float | None = None,
    ) -> None:
        if isinstance(widths, str | int) or not widths:
            raise UserError(f"widths is {widths!r}; give the units of each hidden layer, such as [128, 128]")
        check_positive(**{f"widths[{place}]": width for place, width in enumerate(widths)})
        check_word("activation", activation, ACTIVATIONS)
        check_word("normalisation", normalisation, ("none", "batch"))
        if isinstance(maxout, bool) or not isinstance(maxout, int) or maxout < 0 or maxout == 1:
            raise UserError(f"maxout is {maxout!r}; give 0, or the number of pieces of a layer, from 2")
        if maxout and normalisation == "batch":
            raise UserError("maxout and batch normalisation do not go together here; give one of them")
        if init_std is not None and not 0 < init_std < float("inf"):
            raise UserError(f"init_std is {init_std}; give a number above 0, or leave it out for torch's own start")
        layers: list[nn.Module] = []
        for before, width in zip((inputs, *widths), widths, strict=False):
            if maxout:
                layers.append(Maxout(before, width, maxout))
                continue
            batch = normalisation == "batch"
            layers.append(nn.Linear(before, width, bias=not batch))
            layers += [BatchNorm(width)] if batch else []
            layers.append(ACTIVATIONS[activation]())
        super().__init__(*layers, nn.Linear(widths[-1], outputs))
        if init_std is None:
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, init_std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class PointGenerator(BaseGenerator):
    """Maps latents to points of the plane.

    Args:
        nz: Size of a latent.
        widths: Units of each hidden layer.
        activation: See :class:`LinearTrunk`.
        normalisation: See :class:`LinearTrunk`.
        init_std: See :class:`LinearTrunk`.
        image_shape: (2, 1, 1), the shape of a point.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        nz: int = 256,
        widths: Sequence[int] = (128, 128),
        activation: str = "relu",
        normalisation: str = "none",
        init_std: float | None = None,
        image_shape: Shape = SHAPE,
        loss_type: str = "gan",
    ) -> None:
        _check_points(image_shape)
        super().__init__(nz=nz, ngf=1, bottom_width=1, loss_type=loss_type)
        self.trunk = LinearTrunk(nz, widths, SHAPE[0], activation, normalisation, init_std=init_std)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map latents (N, nz) to points (N, 2, 1, 1); labels are ignored."""
        points: Tensor = self.trunk(x)
        return points.view(-1, *SHAPE)


class PointDiscriminator(BaseDiscriminator):
    """Maps points of the plane to logits.

    Args:
        widths: Units of each hidden layer.
        activation: See :class:`LinearTrunk`.
        normalisation: See :class:`LinearTrunk`.
        maxout: See :class:`LinearTrunk`.
        init_std: See :class:`LinearTrunk`.
        image_shape: (2, 1, 1), the shape of a point; a pack of m points has (2 m, 1, 1).
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``, ``relativistic``.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        widths: Sequence[int] = (128, 128),
        activation: str = "relu",
        normalisation: str = "none",
        maxout: int = 0,
        init_std: float | None = None,
        image_shape: Shape = SHAPE,
        loss_type: str = "gan",
    ) -> None:
        _check_points(image_shape, packed=True)
        super().__init__(ndf=1, loss_type=loss_type)
        self.trunk = LinearTrunk(image_shape[0], widths, 1, activation, normalisation, maxout, init_std)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map points (N, 2, 1, 1) to logits (N, 1); labels are ignored."""
        logits: Tensor = self.trunk(x.flatten(1))
        return logits


class ConditionalPointGenerator(BaseConditionalGenerator):
    """:class:`PointGenerator` with the one-hot class beside the latent.

    Args:
        num_classes: Number of classes K.
        nz: Size of a latent.
        widths: Units of each hidden layer.
        activation: See :class:`LinearTrunk`.
        normalisation: See :class:`LinearTrunk`.
        init_std: See :class:`LinearTrunk`.
        image_shape: (2, 1, 1), the shape of a point.
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        num_classes: int,
        nz: int = 256,
        widths: Sequence[int] = (128, 128),
        activation: str = "relu",
        normalisation: str = "none",
        init_std: float | None = None,
        image_shape: Shape = SHAPE,
        loss_type: str = "gan",
    ) -> None:
        _check_points(image_shape)
        super().__init__(num_classes=num_classes, nz=nz, ngf=1, bottom_width=1, loss_type=loss_type)
        self.trunk = LinearTrunk(nz + num_classes, widths, SHAPE[0], activation, normalisation, init_std=init_std)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """Map latents (N, nz) and class indices (N,) to points (N, 2, 1, 1)."""
        points: Tensor = self.trunk(torch.cat((x, F.one_hot(y, self.num_classes).to(x.dtype)), 1))
        return points.view(-1, *SHAPE)


class ConditionalPointDiscriminator(BaseConditionalDiscriminator):
    """:class:`PointDiscriminator` with the one-hot class beside the point.

    Args:
        num_classes: Number of classes K.
        widths: Units of each hidden layer.
        activation: See :class:`LinearTrunk`.
        normalisation: See :class:`LinearTrunk`.
        maxout: See :class:`LinearTrunk`.
        init_std: See :class:`LinearTrunk`.
        image_shape: (2, 1, 1), the shape of a point; a pack of m points has (2 m, 1, 1).
        loss_type: One of ``gan``, ``ns``, ``hinge``, ``wasserstein``.

    Raises:
        UserError: A value does not fit.
    """

    def __init__(
        self,
        num_classes: int,
        widths: Sequence[int] = (128, 128),
        activation: str = "relu",
        normalisation: str = "none",
        maxout: int = 0,
        init_std: float | None = None,
        image_shape: Shape = SHAPE,
        loss_type: str = "gan",
    ) -> None:
        _check_points(image_shape, packed=True)
        super().__init__(num_classes=num_classes, ndf=1, loss_type=loss_type)
        inputs = image_shape[0] + num_classes
        self.trunk = LinearTrunk(inputs, widths, 1, activation, normalisation, maxout, init_std)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """Map points (N, 2, 1, 1) and class indices (N,) to logits (N, 1)."""
        logits: Tensor = self.trunk(torch.cat((x.flatten(1), F.one_hot(y, self.num_classes).to(x.dtype)), 1))
        return logits


def _check_points(image_shape: Shape, *, packed: bool = False) -> None:
    """Refuse data that are no points of the plane."""
    channels, *sides = (int(size) for size in image_shape)
    if sides != [1, 1] or (channels % SHAPE[0] if packed else channels != SHAPE[0]) or channels < 1:
        raise UserError(
            f"networks for points take images of shape {SHAPE}, the data's are {tuple(image_shape)}; choose data such "
            "as ring:d2gan, or networks for pictures such as those of gendistill.nets.dcgan"
        )
