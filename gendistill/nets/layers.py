"""Layers of the GANs: spectrally normalised, conditional, and batch norm that is right under torchrun."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gendistill.exchange import SumOverProcesses, shared_with


class SNConv2d(nn.Conv2d):
    """A convolution whose weight is divided by its largest singular value, Miyato et al. 2018.

    The weight is normalised in float32 even under autocast: power iteration in bfloat16 drifts off the singular vector.
    """

    def __init__(self, *args: Any, gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        nn.init.xavier_uniform_(self.weight, gain)
        spectral_norm(self)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        return self._conv_forward(input, full_precision_weight(self, input), self.bias)


class SNLinear(nn.Linear):
    """A linear layer whose weight is divided by its largest singular value, Miyato et al. 2018."""

    def __init__(self, *args: Any, gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        nn.init.xavier_uniform_(self.weight, gain)
        spectral_norm(self)

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, F) to (N, G)."""
        return F.linear(input, full_precision_weight(self, input), self.bias)


class SNEmbedding(nn.Embedding):
    """An embedding whose weight is divided by its largest singular value."""

    def __init__(self, *args: Any, gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        nn.init.xavier_uniform_(self.weight, gain)
        spectral_norm(self)

    def forward(self, input: Tensor) -> Tensor:
        """Look up (N,) indices as (N, F)."""
        return F.embedding(input, full_precision_weight(self, input))


def full_precision_weight(layer: nn.Module, input: Tensor) -> Tensor:
    """Return a parametrised layer's weight, computed outside autocast."""
    with torch.autocast(input.device.type, enabled=False):
        weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight


def pooled_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``avg_pool2d(conv(x), 2)`` without ever making the large maps.

    The mean of four neighbouring outputs of a 3x3 filter is one output of a 4x4 filter, the mean of the four places
    where the 3x3 filter can lie in it. Run at a stride of 2 that takes 16 products where the usual order takes 36.

    Args:
        conv: A convolution of stride 1, spectrally normalised or not.
        x: (N, C, H, W), sides at least 2.
    """
    weight = full_precision_weight(conv, x)
    with torch.autocast(x.device.type, enabled=False):
        kernel = F.avg_pool2d(weight, 2, stride=1, padding=1)
    return F.conv2d(x, kernel, conv.bias, stride=2, padding=conv.padding)


def doubled_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``conv(x)`` with every pixel of x repeated 2x2 first, without ever making the repeated maps.

    The transpose of :func:`pooled_conv`: of the nine places of a 3x3 filter on repeated pixels several see the same
    pixel, so that each output is four products of sums of weights and not nine of weights.

    Args:
        conv: A 3x3 convolution of stride 1 and padding 1.
        x: (N, C, H, W).
    """
    weight = full_precision_weight(conv, x)
    with torch.autocast(x.device.type, enabled=False):
        kernel = 4 * F.avg_pool2d(weight.flip(2, 3).transpose(0, 1), 2, stride=1, padding=1)
    return F.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=1)


def quick_format(x: Tensor, network: nn.Module) -> Tensor:
    """Return x (N, C, H, W) in the memory format in which a network's convolutions run quickest.

    On the CPU that is channels-last, which each layer then hands on to the next; elsewhere it is that of the weights.
    """
    last = torch.channels_last
    # Inside vmap, which knows no other format than its own; a compiler cannot look through the question.
    if not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(x):
        return x
    if x.device.type != "cpu":
        # A parameter itself, not a layer's weight: asking for a spectrally normalised weight makes an iteration.
        weight = next(parameter for parameter in network.parameters() if parameter.ndim == 4)
        if not weight.is_contiguous(memory_format=last):
            return x
    # With one channel both formats have the same strides but for one that is never used, by which torch tells them
    # apart all the same; only a copy sets it.
    return x if x.is_contiguous(memory_format=last) and x.stride(1) == 1 else x.clone(memory_format=last)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the union of the batches of all processes that share one; in one alone ``nn.BatchNorm2d`` itself.

    Unlike ``nn.SyncBatchNorm`` it also works on CPU, and it can be differentiated twice.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W) per channel."""
        alone = not (dist.is_available() and dist.is_initialized()) or shared_with().world == 1
        if alone or not self.training:
            return super().forward(input)
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        count = torch.full((1,), input.numel() / input.shape[1], dtype=values.dtype, device=input.device)
        totals = SumOverProcesses.apply(torch.cat([values.sum((0, 2, 3)), count]))
        mean = totals[:-1] / totals[-1]
        centred = values - mean[:, None, None]
        # A second exchange, because the one-pass E[x^2] - E[x]^2 cancels.
        variance = SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / totals[-1]
        self._track(mean.detach(), variance.detach(), totals[-1].detach())
        normalised = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.add_(share * (mean.to(self.running_mean.dtype) - self.running_mean))
        unbiased = (variance * count / (count - 1)).to(self.running_var.dtype)
        self.running_var.add_(share * (unbiased - self.running_var))


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose scale and shift are looked up by class, Dumoulin et al. 2017.

    Attributes:
        bn: The normalisation, without scale and shift of its own.
        embed: (num_classes, 2 num_features): scales, initialised from N(1, 0.02), then shifts, initialised to 0.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.bn = BatchNorm2d(num_features, affine=False)
        self.embed = nn.Embedding(num_classes, 2 * num_features)
        nn.init.normal_(self.embed.weight[:, :num_features], 1.0, 0.02)
        nn.init.zeros_(self.embed.weight[:, num_features:])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise (N, C, H, W) with the scales and shifts of the classes y (N,)."""
        normalised = self.bn(x)
        scale, shift = self.embed(y)[:, :, None, None].to(normalised.dtype).chunk(2, 1)
        return torch.addcmul(shift, scale, normalised)
