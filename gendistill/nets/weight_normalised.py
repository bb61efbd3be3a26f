"""The learner of Generative Teaching Networks: weight normalisation and mean-only batch normalisation.

Such, Rawal, Lehman, Stanley, Clune 2020, "Generative Teaching Networks"; Salimans & Kingma 2016, "Weight
Normalization", sections 2 and 4. Written from the descriptions.

In evaluation a learner subtracts running means, which its synthetic batches left behind. Meta-training looks at the
learner in the same way, so those means are part of what is differentiated: see
:mod:`gendistill.nets.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.learners import Learner
from gendistill.nets.statistics import keeping_graph


class MeanOnlyBatchNorm(nn.Module):
    """Subtract the batch's mean of every channel and add a learned bias; the scale is left to weight normalisation.

    Args:
        channels: Number of channels C.
        momentum: Weight in (0, 1] of a new batch's mean in the running one. 1, the paper's, keeps the last batch's.

    Raises:
        UserError: The momentum is out of range.
    """

    running_mean: Tensor
    keeps_graph: ClassVar[bool] = True
    """See :mod:`gendistill.nets.statistics`."""

    def __init__(self, channels: int, momentum: float = 1.0) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise UserError(f"momentum is {momentum}; it is the weight of a new batch's mean, in (0, 1]")
        self.momentum = momentum
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, ...) with the mean over all dimensions but the second moved to the bias."""
        if self.training:
            mean = x.mean([0, *range(2, x.dim())])
            kept = mean if keeping_graph() else mean.detach()
            # In place: copies that functional_call or vmap put here are updated too.
            if self.momentum == 1:
                self.running_mean.copy_(kept)
            else:
                self.running_mean.mul_(1 - self.momentum).add_(self.momentum * kept)
        else:
            mean = self.running_mean
        return x + (self.bias - mean).view(-1, *[1] * (x.dim() - 2))


class WeightNormConv2d(nn.Conv2d):
    """A 3x3 convolution whose weight is a direction times a length of its own for every output: w = g v / |v|.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        slope: Negative slope of the activation that follows; the direction is drawn by He et al. 2015 for it, and the
            length starts at the direction's.
        weight_norm: ``False`` leaves the direction alone: an ordinary weight.

    Attributes:
        weight: The direction v.
        length: g (outputs, 1, 1, 1), or ``None``.
    """

    def __init__(self, inputs: int, outputs: int, slope: float, weight_norm: bool) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)
        self.length = _draw(self.weight, slope, weight_norm)

    def put_weight(self, value: Tensor) -> None:
        """Take direction and length of ``value``; the weight is then that."""
        _put(self, value)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        return self._conv_forward(x, _normalised(self.weight, self.length), None)


class WeightNormLinear(nn.Linear):
    """A linear layer whose weight is a direction times a length; see :class:`WeightNormConv2d`."""

    def __init__(self, inputs: int, outputs: int, slope: float, weight_norm: bool, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.length = _draw(self.weight, slope, weight_norm)
        if bias:
            nn.init.zeros_(self.bias)

    def put_weight(self, value: Tensor) -> None:
        """Take direction and length of ``value``; the weight is then that."""
        _put(self, value)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, F) to (N, G)."""
        return F.linear(x, _normalised(self.weight, self.length), self.bias)


def _draw(direction: Tensor, slope: float, weight_norm: bool) -> nn.Parameter | None:
    nn.init.kaiming_normal_(direction, a=slope)
    return nn.Parameter(_norm(direction).detach()) if weight_norm else None


def _put(layer: WeightNormConv2d | WeightNormLinear, value: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(value)
        if layer.length is not None:
            layer.length.copy_(_norm(value))


def _norm(direction: Tensor) -> Tensor:
    return torch.linalg.vector_norm(direction, dim=list(range(1, direction.dim())), keepdim=True)


def _normalised(direction: Tensor, length: Tensor | None) -> Tensor:
    return direction if length is None else direction * (length / _norm(direction))


class WeightNormConvNet(Learner):
    """The paper's learner: convolutions 3x3 with max pooling 3/2, then up to one hidden layer, all weight-normalised.

    A block is convolution, pooling, mean-only batch normalisation, leaky ReLU. The paper's widths are the defaults
    (1.68 million parameters for 1x28x28); ``widths: [16, 32]`` with ``hidden: null`` has 20,548.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        widths: Channels of each convolution.
        hidden: Units of the fully connected layer before the last one; ``None``: there is none.
        pool_every: A pooling follows every so many convolutions.
        global_pool: Average every map to one number before the linear layers; then images may be of any size.
        weight_norm: Whether weights are directions times lengths.
        momentum: See :class:`MeanOnlyBatchNorm`.
        slope: Negative slope of the leaky ReLUs.

    Raises:
        UserError: A size that cannot be built.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        widths: Sequence[int] = (64, 128),
        hidden: int | None = 256,
        pool_every: int = 1,
        global_pool: bool = False,
        weight_norm: bool = True,
        momentum: float = 1.0,
        slope: float = 0.1,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if not widths or min(*widths, 1 if hidden is None else hidden, pool_every) < 1:
            raise UserError(
                f"widths is {list(widths)}, hidden {hidden} and pool_every {pool_every}; give at least one width, and "
                "whole numbers from 1"
            )
        self.slope, self.pool_every, self.global_pool = slope, pool_every, global_pool
        channels, *side = self.image_shape
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for block, width in enumerate(widths, 1):
            self.convolutions.append(WeightNormConv2d(channels, width, slope, weight_norm))
            self.norms.append(MeanOnlyBatchNorm(width, momentum))
            channels = width
            if block % pool_every == 0:
                side = [math.ceil(size / 2) for size in side]
        size = channels if global_pool else channels * math.prod(side)
        self.hidden = None if hidden is None else WeightNormLinear(size, hidden, slope, weight_norm)
        self.hidden_norm = None if hidden is None else MeanOnlyBatchNorm(hidden, momentum)
        self.classifier = WeightNormLinear(hidden or size, num_classes, slope, weight_norm, bias=True)

    def features(self, x: Tensor) -> Tensor:
        """Return the vectors (N, F) that the last layer sees for images (N, C, H, W)."""
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            x = convolution(x)
            if block % self.pool_every == 0:
                x = F.max_pool2d(x, 3, 2, padding=1)
            x = F.leaky_relu(norm(x), self.slope)
        x = x.mean((2, 3)) if self.global_pool else x.flatten(1)
        if self.hidden is None or self.hidden_norm is None:
            return x
        return F.leaky_relu(self.hidden_norm(self.hidden(x)), self.slope)
