"""The network bases: attributes, order of draws, refusals."""

from __future__ import annotations

import pytest
import torch

from gendistill.errors import UserError
from gendistill.losses.adversarial import LOSS_TYPES, discriminator_loss, generator_loss
from gendistill.nets.cgan_pd import CGANPDDiscriminator, CGANPDGenerator
from gendistill.nets.sngan import SNGANDiscriminator, SNGANGenerator


def small_generator() -> CGANPDGenerator:
    return CGANPDGenerator(5, (1, 8, 8), nz=6, ngf=4)


def test_labels_are_drawn_before_noise() -> None:
    network = small_generator().eval()
    images, labels = network.generate_images_with_labels(7, generator=torch.Generator().manual_seed(3))
    replay = torch.Generator().manual_seed(3)
    expected_labels = torch.randint(5, (7,), generator=replay)
    expected = network(torch.randn(7, 6, generator=replay), expected_labels)
    assert torch.equal(labels, expected_labels)
    assert torch.equal(images, expected)


def test_a_fixed_class_draws_noise_only() -> None:
    network = small_generator().eval()
    images, labels = network.generate_images_with_labels(4, c=2, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    assert labels.tolist() == [2, 2, 2, 2]
    assert torch.equal(images, network(noise, labels))
    again = network.generate_images(4, c=2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(images, again)


def test_unconditional_generator() -> None:
    network = SNGANGenerator((3, 16, 16), nz=6, ngf=4).eval()
    images = network.generate_images(3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images, network(torch.randn(3, 6, generator=torch.Generator().manual_seed(0))))
    assert SNGANDiscriminator((3, 16, 16), ndf=4)(images).shape == (3, 1)


def test_a_given_generator_leaves_the_global_one_alone() -> None:
    network = small_generator()
    before = torch.get_rng_state()
    network.generate_images(2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_count_params_and_device() -> None:
    network = small_generator()
    network.linear.bias.requires_grad_(False)
    total, trainable = network.count_params()
    assert total - trainable == network.linear.bias.numel()
    assert network.device == torch.device("cpu")
    assert (network.nz, network.ngf, network.bottom_width, network.num_classes) == (6, 4, 4, 5)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_losses_of_the_networks_are_the_functions(loss_type: str) -> None:
    generator = CGANPDGenerator(2, (1, 8, 8), ngf=4, loss_type=loss_type)
    discriminator = CGANPDDiscriminator(2, (1, 8, 8), ndf=4, loss_type=loss_type)
    real, fake = torch.tensor([[0.5], [2.0]]), torch.tensor([[-0.5], [0.1]])
    assert generator.compute_gan_loss(fake, real) == generator_loss(loss_type, fake, real)
    assert discriminator.compute_gan_loss(real, fake) == discriminator_loss(loss_type, real, fake)
    probabilities = discriminator.compute_probs(real, fake)
    assert probabilities[0].item() == pytest.approx(real.sigmoid().mean().item())
    assert probabilities[1].item() == pytest.approx(fake.sigmoid().mean().item())


def test_refusals() -> None:
    with pytest.raises(UserError, match="did you mean 'hinge'"):
        CGANPDGenerator(2, (1, 8, 8), loss_type="hings")
    with pytest.raises(UserError, match="loss_type"):
        SNGANDiscriminator((1, 8, 8), loss_type="")
    with pytest.raises(UserError, match="ngf"):
        CGANPDGenerator(2, (1, 8, 8), ngf=0)
    with pytest.raises(UserError, match="num_classes"):
        CGANPDDiscriminator(0, (1, 8, 8))
    with pytest.raises(UserError, match="classes 0 to 4"):
        small_generator().generate_images(1, c=5)
    with pytest.raises(UserError, match="num_images"):
        small_generator().generate_images(0)
