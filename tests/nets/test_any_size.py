"""Every GAN network at every size, channel count and width, and its parameters counted by hand from the papers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill.declared import accepted_arguments
from gendistill.errors import UserError
from gendistill.nets.cgan_pd import CGANPDDiscriminator, CGANPDGenerator
from gendistill.nets.dcgan import (
    ConditionalDCGANDiscriminator,
    ConditionalDCGANGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
)
from gendistill.nets.sngan import SNGANDiscriminator, SNGANGenerator
from gendistill.nets.wgan_gp import (
    ConditionalWGANGPDiscriminator,
    ConditionalWGANGPGenerator,
    WGANGPDiscriminator,
    WGANGPGenerator,
)

PAIRS: list[tuple[type[nn.Module], type[nn.Module]]] = [
    (SNGANGenerator, SNGANDiscriminator),
    (CGANPDGenerator, CGANPDDiscriminator),
    (DCGANGenerator, DCGANDiscriminator),
    (ConditionalDCGANGenerator, ConditionalDCGANDiscriminator),
    (WGANGPGenerator, WGANGPDiscriminator),
    (ConditionalWGANGPGenerator, ConditionalWGANGPDiscriminator),
]
CONDITIONAL = [pair for pair in PAIRS if pair[0].__name__.startswith(("C",))]
CLASSES = 3


def made(network: type[nn.Module], shape: tuple[int, int, int], **options: Any) -> Any:
    """Return a network as the trainer builds it: the number of classes only where it is taken."""
    if "num_classes" in accepted_arguments(network):
        options["num_classes"] = CLASSES
    return network(image_shape=shape, **options)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16, 28, 32, 48, 64])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].__name__)
def test_any_size_channels_and_width(
    pair: tuple[type[nn.Module], type[nn.Module]], size: int, channels: int, width: int
) -> None:
    torch.manual_seed(0)
    shape = (channels, size, size)
    generator, discriminator = made(pair[0], shape, nz=5, ngf=width), made(pair[1], shape, ndf=width)
    labels = torch.tensor([0, 2])
    images = generator(noise(2, 5), labels)
    assert images.shape == (2, *shape) and images.abs().max() <= 1 and images.is_contiguous()
    logits = discriminator(images, labels)
    assert logits.shape == (2, 1) and logits.isfinite().all()
    (slope,) = torch.autograd.grad(logits.sum(), images)
    assert slope.shape == images.shape and slope.abs().sum() > 0


@pytest.mark.parametrize("pair", CONDITIONAL, ids=lambda pair: pair[0].__name__)
def test_labels_matter_and_are_asked_for(pair: tuple[type[nn.Module], type[nn.Module]]) -> None:
    torch.manual_seed(0)
    generator, discriminator = made(pair[0], (1, 8, 8), nz=5, ngf=4), made(pair[1], (1, 8, 8), ndf=4).eval()
    images = noise(2, 1, 8, 8)
    one, other = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert not torch.equal(discriminator(images, one), discriminator(images, other))
    # In evaluation mode, because a batch norm would take away what all images of a batch share.
    generator.eval()
    assert not torch.equal(generator(noise(2, 5), one), generator(noise(2, 5), other))
    for network, inputs in ((generator, noise(2, 5)), (discriminator, images)):
        with pytest.raises(UserError, match="class ind"):
            network(inputs)


def test_published_parameter_counts() -> None:
    # torch-mimicry's SNGAN at 32x32.
    assert SNGANGenerator((3, 32, 32)).count_params()[0] == 4_276_739
    assert SNGANDiscriminator((3, 32, 32)).count_params()[0] == 1_053_825


def test_dcgan_parameters_are_counted_by_hand() -> None:
    def norm(width: int) -> int:
        return 2 * width

    def square(inputs: int, outputs: int) -> int:
        return 16 * inputs * outputs

    # Fig. 1 of the paper: 100 -> 4x4x1024 -> 512 -> 256 -> 128 -> 3, filters of 4x4.
    generator = 100 * 16 * 1024 + norm(1024) + square(1024, 512) + norm(512) + square(512, 256) + norm(256)
    generator += square(256, 128) + norm(128) + square(128, 3) + 3
    discriminator = square(3, 128) + 128 + square(128, 256) + norm(256) + square(256, 512) + norm(512)
    discriminator += square(512, 1024) + norm(1024) + 16 * 1024 + 1
    with torch.device("meta"):
        assert DCGANGenerator((3, 64, 64), ngf=128).count_params()[0] == generator
        assert DCGANDiscriminator((3, 64, 64), ndf=128).count_params()[0] == discriminator
        # Ten more inputs of the linear layer; ten more maps beside the image.
        told = ConditionalDCGANGenerator(10, (3, 64, 64), ngf=128).count_params()[0]
        assert told == generator + 10 * 16 * 1024
        told = ConditionalDCGANDiscriminator(10, (3, 64, 64), ndf=128).count_params()[0]
        assert told == discriminator + square(10, 128)
        told = ConditionalDCGANDiscriminator(10, (3, 64, 64), ndf=128, conditioning="projection").count_params()[0]
        assert told == discriminator + 10 * 16 * 1024  # a row a class
        # 8x8: one doubling, one halving.
        small = DCGANGenerator((1, 8, 8), nz=5, ngf=6).count_params()[0]
        assert small == 5 * 16 * 6 + norm(6) + square(6, 1) + 1
        small = DCGANDiscriminator((1, 8, 8), ndf=6).count_params()[0]
        assert small == square(1, 6) + 6 + 16 * 6 + 1


def test_a_projection_adds_the_class_s_own_weights_of_the_last_maps() -> None:
    """Miyato & Koyama 2018, eq. (3): the inner product of an embedded class and the features, and what all share."""
    network = ConditionalDCGANDiscriminator(3, (1, 8, 8), ndf=4, norm="none", conditioning="projection")
    x, y = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])
    features = network.features(x, y)
    assert torch.equal(features, network.features(x, y.flip(0)))
    expected = network.trunk.linear(features)[:, 0] + (network.projection.weight[y] * features).sum(1)
    torch.testing.assert_close(network(x, y)[:, 0], expected)
    with pytest.raises(UserError, match="conditioning is 'maps2'; use one of maps, projection"):
        ConditionalDCGANDiscriminator(3, (1, 8, 8), conditioning="maps2")


def test_wgan_gp_parameters_are_counted_by_hand() -> None:
    def conv(inputs: int, outputs: int, size: int) -> int:
        return size * size * inputs * outputs + outputs

    w = 128
    # The CIFAR-10 networks of appendix F: 128 -> 4x4x128, three blocks up; four blocks, of which two go down.
    block_up = 2 * (2 * w) + 2 * conv(w, w, 3) + conv(w, w, 1)
    generator = 128 * 16 * w + 16 * w + 3 * block_up + 2 * w + conv(w, 3, 3)
    critic = conv(3, w, 3) + conv(w, w, 3) + conv(3, w, 1)
    critic += 2 * conv(w, w, 3) + conv(w, w, 1) + 2 * (2 * conv(w, w, 3)) + w + 1
    with torch.device("meta"):
        assert WGANGPGenerator((3, 32, 32)).count_params()[0] == generator
        assert WGANGPDiscriminator((3, 32, 32)).count_params()[0] == critic
        assert ConditionalWGANGPDiscriminator(10, (3, 32, 32)).count_params()[0] == critic + 10 * w
        # Conditional batch norms have a pair of numbers a channel and class; the last norm is plain.
        told = ConditionalWGANGPGenerator(10, (3, 32, 32)).count_params()[0]
        assert told == generator + 3 * 2 * (10 - 1) * 2 * w


def test_a_critic_judges_each_image_by_itself() -> None:
    images = noise(4, 1, 16, 16)
    critics = [WGANGPDiscriminator((1, 16, 16), ndf=4), DCGANDiscriminator((1, 16, 16), ndf=4, norm="none")]
    for critic in critics:
        torch.testing.assert_close(critic(images)[:1], critic(images[:1]))
    with_norm = DCGANDiscriminator((1, 16, 16), ndf=4)
    assert (with_norm(images)[:2] - with_norm(images[:2])).abs().max() > 1e-4


def test_wgan_gp_averages_over_pixels() -> None:
    critic = WGANGPDiscriminator((1, 16, 16), ndf=4)
    images = noise(3, 1, 16, 16)
    maps = torch.relu(critic.features.blocks(images))
    torch.testing.assert_close(critic(images), maps.flatten(2).mean(2) @ critic.linear.weight.T + critic.linear.bias)


def test_refusals() -> None:
    with pytest.raises(UserError, match="bottom_width 5"):
        DCGANGenerator((1, 28, 28), bottom_width=5)
    with pytest.raises(UserError, match="bottom_width 9"):
        DCGANDiscriminator((1, 28, 28), bottom_width=9)
    with pytest.raises(UserError, match="square"):
        WGANGPGenerator((1, 28, 32))
    with pytest.raises(UserError, match="batch or none"):
        DCGANDiscriminator((1, 28, 28), norm="layer")
    with pytest.raises(UserError, match="hinge"):
        DCGANGenerator((1, 28, 28), loss_type="hings")
