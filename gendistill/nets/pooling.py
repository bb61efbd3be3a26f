"""Average pooling 2x2 that is quick on a CPU, where torch's kernel takes much of a ConvNet's step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

SMALL = 64
"""Up to this many pixels a map is pooled by one matrix product, forwards and backwards."""


class AveragePool(nn.Module):
    """``AvgPool2d(2)``, on the CPU faster than torch's, forwards and backwards (``benchmarks/pooling.py``).

    Maps up to 8x8 are pooled by one matrix product. Larger ones are pooled by sums over every second row and column, in
    torch's order: results and gradients are the same to the bit.

    Args:
        side: (H, W) of the maps. Maps of another size are pooled, too.
    """

    def __init__(self, side: tuple[int, int]) -> None:
        super().__init__()
        self.side = side
        # Neither parameter nor buffer: a constant that no checkpoint, optimiser or stacking of networks should see.
        self.matrix: Tensor | None = None
        if side[0] * side[1] <= SMALL:
            pixels = torch.eye(side[0] * side[1], device="cpu").view(-1, 1, *side)
            self.matrix = F.avg_pool2d(pixels, 2).flatten(1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (N, C, H // 2, W // 2) of maps (N, C, H, W); an odd last row or column is left out."""
        if x.device.type != "cpu":
            return F.avg_pool2d(x, 2)
        if self.matrix is not None and tuple(x.shape[-2:]) == self.side:
            pooled = x.flatten(-2) @ self.matrix.to(x.dtype)
            return pooled.unflatten(-1, (self.side[0] // 2, self.side[1] // 2))
        # torch adds numbers of lower precision in float32; its kernel for channels-last maps is a quick one; what is
        # compiled is written anew.
        quick = x.dtype in (torch.float32, torch.float64) and x.is_contiguous() and not torch.compiler.is_compiling()
        return _Means.apply(x) if quick else F.avg_pool2d(x, 2)


class _Means(Function):
    """Means of 2x2 pixels of maps (..., H, W)."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
        left, right = x[..., 0::2].contiguous(), x[..., 1::2].contiguous()
        total = left[..., 0::2, :] + right[..., 0::2, :]
        total += left[..., 1::2, :]
        total += right[..., 1::2, :]
        return total.mul_(0.25)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.side = tuple(inputs[0].shape[-2:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        spread: Tensor = _Quarters.apply(gradient, ctx.side)
        return spread

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return _Means.apply(x.movedim(in_dims[0], 0)), 0


class _Quarters(Function):
    """The transpose of :class:`_Means`: a quarter of each value (..., h, w) at each of its 2x2 pixels."""

    @staticmethod
    def forward(x: Tensor, side: tuple[int, int]) -> Tensor:
        quarter = x * 0.25
        # Two equal neighbours are written as one complex number, in one go.
        row = torch.view_as_real(torch.complex(quarter, quarter)).flatten(-2)
        found = torch.stack((row, row), -2).flatten(-3, -2)
        rest = (0, side[1] - found.shape[-1], 0, side[0] - found.shape[-2])
        return F.pad(found, rest) if any(rest) else found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, int]], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Means.apply(gradient), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, side: tuple[int, int]) -> tuple[Tensor, int]:
        return _Quarters.apply(x.movedim(in_dims[0], 0), side), 0
