"""What makes the networks quick must not change what they are: pooled convolutions, and the memory format."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.nets.cgan_pd import CGANPDDiscriminator, CGANPDGenerator
from gendistill.nets.dcgan import DCGANDiscriminator, DCGANGenerator
from gendistill.nets.layers import SNConv2d, doubled_conv, pooled_conv, quick_format
from gendistill.nets.sngan import SNGANDiscriminator, SNGANGenerator
from gendistill.nets.wgan_gp import WGANGPDiscriminator, WGANGPGenerator


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("side", [(2, 2), (6, 6), (7, 5), (9, 4)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_pooled_convolution_is_convolution_then_pooling(side: tuple[int, int], bias: bool, size: int) -> None:
    conv = nn.Conv2d(3, 4, size, padding=size // 2, bias=bias).double()
    x = noise(2, 3, *side).requires_grad_()
    quick, slow = pooled_conv(conv, x), F.avg_pool2d(conv(x), 2)
    assert_twice_equal(quick, slow, [x, *conv.parameters()])


def assert_twice_equal(quick: Tensor, slow: Tensor, wanted: list[Tensor]) -> None:
    """Compare values, gradients and gradients of gradients."""
    torch.testing.assert_close(quick, slow)
    slopes = [torch.autograd.grad(out.pow(3).sum(), wanted, create_graph=True) for out in (quick, slow)]
    for found, expected in zip(*slopes, strict=True):
        torch.testing.assert_close(found, expected)
    curves = [torch.autograd.grad(slope[0].square().sum(), wanted) for slope in slopes]
    for found, expected in zip(*curves, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("side", [(1, 1), (4, 4), (5, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_doubled_convolution_is_repetition_then_convolution(side: tuple[int, int], bias: bool) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=bias).double()
    x = noise(2, 3, *side).requires_grad_()
    quick, slow = doubled_conv(conv, x), conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert_twice_equal(quick, slow, [x, *conv.parameters()])


def test_pooled_convolution_iterates_spectral_norm_once_in_float32() -> None:
    torch.manual_seed(0)
    quick, slow = SNConv2d(3, 8, 3, padding=1), SNConv2d(3, 8, 3, padding=1)
    slow.load_state_dict(quick.state_dict())
    x = noise(2, 3, 6, 6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = pooled_conv(quick, x)
    expected = F.avg_pool2d(slow(x), 2)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    for ours, theirs in zip(quick.buffers(), slow.buffers(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("channels", [1, 3])
def test_quick_format_is_channels_last_with_the_same_values(channels: int) -> None:
    x = noise(2, channels, 4, 4).requires_grad_()
    last = quick_format(x, nn.Conv2d(channels, 2, 1))
    assert torch.equal(last, x)
    assert last.stride() == (16 * channels, 1, 4 * channels, channels)
    assert quick_format(last, nn.Conv2d(channels, 2, 1)) is last, "no second copy"
    (slope,) = torch.autograd.grad(last.square().sum(), x)
    assert torch.equal(slope, 2 * x)


NETS: list[tuple[type[nn.Module], dict[str, Any]]] = [
    (CGANPDGenerator, {"num_classes": 3, "nz": 5, "ngf": 8}),
    (SNGANGenerator, {"nz": 5, "ngf": 8}),
    (WGANGPGenerator, {"nz": 5, "ngf": 8}),
    (DCGANGenerator, {"nz": 5, "ngf": 8}),
    (CGANPDDiscriminator, {"num_classes": 3, "ndf": 8}),
    (SNGANDiscriminator, {"ndf": 8}),
    (WGANGPDiscriminator, {"ndf": 8}),
    (DCGANDiscriminator, {"ndf": 8}),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("network", "options"), NETS)
def test_every_convolution_is_given_channels_last(
    network: type[nn.Module], options: dict[str, Any], channels: int
) -> None:
    net = network(image_shape=(channels, 16, 16), **options)
    seen: list[bool] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        if x.ndim == 4:
            seen.append(x.stride(1) == 1 and x.is_contiguous(memory_format=torch.channels_last))

    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
    for module in net.modules():
        if isinstance(module, layers):
            module.register_forward_pre_hook(look)
    first = noise(4, 5, dtype=torch.float32) if "nz" in options else noise(4, channels, 16, 16, dtype=torch.float32)
    out = net(first, torch.arange(4) % 3)
    assert len(seen) >= 2 and all(seen)
    assert out.is_contiguous(), "who takes the images need not know"


@pytest.mark.parametrize(("network", "options"), NETS)
def test_weights_in_either_format_are_one_function(network: type[nn.Module], options: dict[str, Any]) -> None:
    nets = [network(image_shape=(3, 16, 16), **options).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1].to(memory_format=torch.channels_last)
    first = noise(4, 5) if "nz" in options else noise(4, 3, 16, 16)
    outs = [net(first, torch.arange(4) % 3) for net in nets]
    torch.testing.assert_close(*outs)
    slopes = [
        torch.autograd.grad(out.square().sum(), list(net.parameters())) for out, net in zip(outs, nets, strict=True)
    ]
    for found, expected in zip(*slopes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
