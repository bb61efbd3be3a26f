"""The SN-ResNet cGAN: published sizes, any image size, and blocks against a plain reading of the paper."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.cgan_pd import CGANPDDiscriminator, CGANPDGenerator
from gendistill.nets.layers import ConditionalBatchNorm2d
from gendistill.nets.resblocks import DBlock, GBlock, fit_bottom_width


def test_published_parameter_counts() -> None:
    assert CGANPDGenerator(10, (3, 32, 32)).count_params() == (4_304_387, 4_304_387)
    assert CGANPDDiscriminator(10, (3, 32, 32)).count_params() == (1_055_105, 1_055_105)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "bottom_width"), [(8, 4), (8, 2), (16, 4), (28, 7), (32, 4), (48, 6), (64, 4)])
def test_any_size(channels: int, size: int, bottom_width: int) -> None:
    generator = CGANPDGenerator(3, (channels, size, size), nz=5, ngf=4, bottom_width=bottom_width)
    images, labels = generator.generate_images_with_labels(2, generator=torch.Generator().manual_seed(0))
    assert images.shape == (2, channels, size, size)
    assert images.abs().max() <= 1
    assert CGANPDDiscriminator(3, (channels, size, size), ndf=4)(images, labels).shape == (2, 1)


def test_bottom_width_is_found() -> None:
    assert {size: fit_bottom_width(size) for size in (8, 16, 28, 32, 48, 64)} == {
        8: (4, 1),
        16: (4, 2),
        28: (7, 2),
        32: (4, 3),
        48: (6, 3),
        64: (4, 4),
    }


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_generator_block_is_the_usual_order(upsampling: str) -> None:
    torch.manual_seed(0)
    block = GBlock(3, 5, num_classes=2, upsampling=upsampling).double()
    x, y = torch.randn(4, 3, 6, 6, dtype=torch.float64), torch.tensor([0, 1, 1, 0])

    def up(t: Tensor) -> Tensor:
        if upsampling == "nearest":
            return t.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return F.interpolate(t, scale_factor=2, mode="bilinear", align_corners=False)

    def norm(t: Tensor, layer: nn.Module) -> Tensor:
        assert isinstance(layer, ConditionalBatchNorm2d)
        scale, shift = layer.embed.weight[y].chunk(2, 1)
        mean, variance = t.mean((0, 2, 3), keepdim=True), t.var((0, 2, 3), unbiased=False, keepdim=True)
        return scale[:, :, None, None] * (t - mean) / (variance + 1e-5).sqrt() + shift[:, :, None, None]

    h = block.conv1(up(F.relu(norm(x, block.norm1))))
    h = block.conv2(F.relu(norm(h, block.norm2)))
    torch.testing.assert_close(block(x, y), h + block.shortcut(up(x)))


@pytest.mark.parametrize("shortcut_relu", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_discriminator_block_is_the_usual_order(first: bool, shortcut_relu: bool) -> None:
    torch.manual_seed(0)
    block = DBlock(3, 5, downsample=True, first=first, shortcut_relu=shortcut_relu).double().eval()
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    kept = x.clone()
    h = x if first else F.relu(x)
    h = F.avg_pool2d(block.conv2(F.relu(block.conv1(h))), 2)
    seen = F.relu(x) if shortcut_relu and not first else x
    torch.testing.assert_close(block(x), h + F.avg_pool2d(block.shortcut(seen), 2))
    assert torch.equal(x, kept), "the block must not overwrite its input"


def test_logits_are_a_projection() -> None:
    torch.manual_seed(0)
    network = CGANPDDiscriminator(3, (1, 8, 8), ndf=6).eval()
    x, y = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 1, 0])
    h = F.relu(network.blocks(x)).sum((2, 3))
    expected = h @ network.linear.weight.T + network.linear.bias + (network.embedding.weight[y] * h).sum(1, True)
    torch.testing.assert_close(network(x, y), expected)


def test_all_weights_of_the_discriminator_have_spectral_norm_one() -> None:
    torch.manual_seed(0)
    network = CGANPDDiscriminator(4, (3, 16, 16), ndf=8)
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    for _ in range(60):
        network(images, labels)
    network.eval()
    seen = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)
            seen += 1
    assert seen == 2 * 3 + 1 + 2  # two convolutions a block, one learned shortcut, linear and embedding


def test_refusals() -> None:
    with pytest.raises(UserError, match="bottom_width 5"):
        CGANPDGenerator(2, (1, 28, 28), bottom_width=5)
    with pytest.raises(UserError, match="square"):
        CGANPDGenerator(2, (1, 28, 32))
    with pytest.raises(UserError, match="halved 5 times"):
        CGANPDDiscriminator(2, (1, 16, 16), downsamplings=5)
    with pytest.raises(UserError, match="upsampling"):
        CGANPDGenerator(2, (1, 16, 16), upsampling="cubic")
    with pytest.raises(UserError, match="class ind"):
        CGANPDGenerator(2, (1, 16, 16), ngf=4)(torch.randn(1, 128))
    with pytest.raises(UserError, match="class index"):
        CGANPDDiscriminator(2, (1, 16, 16), ndf=4)(torch.randn(1, 1, 16, 16))
