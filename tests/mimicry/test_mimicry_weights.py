"""Networks of both projects with equal weights are equal functions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.mimicry import from_mimicry, generator_spec, installed, load, to_mimicry
from gendistill.nets.cgan_pd import CGANPDDiscriminator, CGANPDGenerator
from gendistill.nets.resblocks import DBlock
from gendistill.nets.sngan import SNGANDiscriminator, SNGANGenerator
from gendistill.objects import build

pytestmark = pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")

SHAPE = (3, 32, 32)
FAMILIES = ("sngan", "cgan_pd")
IMAGES = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
LABELS = torch.tensor([0, 1, 2, 1, 0, 2])


def pair(family: str, kind: str, seed: int = 0) -> tuple[Any, Any, tuple[Tensor, ...]]:
    """Return our network, theirs, each with weights of its own, and the labels that they take."""
    load()
    from torch_mimicry.nets import cgan_pd, sngan

    torch.manual_seed(seed)
    size: dict[str, Any] = {"nz": 5, "ngf": 6} if kind == "Generator" else {"ndf": 6}
    ours_only: dict[str, Any] = {"image_shape": SHAPE}
    if kind == "Discriminator":
        ours_only["shortcut_relu"] = True
    if family == "cgan_pd":
        theirs = getattr(cgan_pd, f"CGANPD{kind}32")(num_classes=3, **size)
        ours = {"Generator": CGANPDGenerator, "Discriminator": CGANPDDiscriminator}[kind](3, **ours_only, **size)
        return ours, theirs, (LABELS,)
    ours = {"Generator": SNGANGenerator, "Discriminator": SNGANDiscriminator}[kind](**ours_only, **size)
    return ours, getattr(sngan, f"SNGAN{kind}32")(**size), ()


def converge(network: nn.Module, labels: tuple[Tensor, ...], steps: int = 40) -> None:
    """Let power iterations, and statistics of batch norm, settle."""
    for _ in range(steps):
        network(IMAGES, *labels)


@pytest.mark.parametrize("direction", ["from", "to"])
@pytest.mark.parametrize("family", FAMILIES)
def test_generators(family: str, direction: str) -> None:
    ours, theirs, labels = pair(family, "Generator")
    noise = torch.randn(6, 5)
    source = theirs if direction == "from" else ours
    source(noise * 2, *labels)  # so that running statistics and scales are not those at the start
    if direction == "from":
        from_mimicry(theirs.state_dict(), ours)
    else:
        to_mimicry(ours, theirs)
    torch.testing.assert_close(ours.eval()(noise, *labels), theirs.eval()(noise, *labels))
    torch.testing.assert_close(ours.train()(noise, *labels), theirs.train()(noise, *labels))
    torch.testing.assert_close(ours.norm.running_var, theirs.b5.running_var)


@pytest.mark.parametrize("family", FAMILIES)
def test_discriminators_from_torch_mimicry(family: str) -> None:
    ours, theirs, labels = pair(family, "Discriminator")
    converge(theirs, labels, steps=1)  # one power iteration: far from converged
    from_mimicry(theirs.state_dict(), ours)
    expected = theirs.eval()(IMAGES.clone(), *labels)
    torch.testing.assert_close(ours.eval()(IMAGES, *labels), expected)
    # The trap that this project's option names: with raw shortcuts it is another function.
    for block in ours.modules():
        if isinstance(block, DBlock):
            block.shortcut_relu = False
    assert (ours(IMAGES, *labels) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_discriminators_to_torch_mimicry(family: str) -> None:
    ours, theirs, labels = pair(family, "Discriminator")
    converge(ours, labels)
    to_mimicry(ours, theirs)
    torch.testing.assert_close(ours.eval()(IMAGES, *labels), theirs.eval()(IMAGES.clone(), *labels))
    kinds = {name.split(".")[-1] for name in theirs.state_dict()}
    assert "weight_orig" in kinds and ("sn_u" in kinds) == (family == "cgan_pd")
    # Where both have converged, training starts from the same outputs and the same gradients.
    ours.train(), theirs.train()
    logits = ours(IMAGES, *labels), theirs(IMAGES.clone(), *labels)
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)
    for output in logits:
        output.sum().backward()
    gradient = ours.blocks[1].conv1.parametrizations.weight.original.grad
    torch.testing.assert_close(gradient, theirs.block2.c1.weight_orig.grad, rtol=1e-2, atol=1e-3)


def test_weights_come_back_as_they_went() -> None:
    ours, theirs, _ = pair("sngan", "Discriminator")
    other, _, _ = pair("sngan", "Discriminator", seed=1)
    to_mimicry(ours, theirs)
    from_mimicry(theirs.state_dict(), other)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in ours.state_dict().items())


def test_a_fresh_discriminator_of_torch_mimicry_needs_a_forward_pass_before_it_judges() -> None:
    ours, theirs, _ = pair("sngan", "Discriminator")
    assert theirs.eval()(IMAGES.clone()).abs().max() > 1e3 * ours.eval()(IMAGES).abs().max()


def test_labels_are_drawn_before_noise() -> None:
    ours, theirs, _ = pair("cgan_pd", "Generator")
    to_mimicry(ours, theirs)
    torch.manual_seed(7)
    images, labels = ours.generate_images_with_labels(5)
    torch.manual_seed(7)
    expected, expected_labels = theirs.generate_images_with_labels(5)
    assert torch.equal(labels, expected_labels)
    torch.testing.assert_close(images, expected)


@pytest.mark.parametrize("family", ["dcgan", "wgan_gp", "sngan", "ssgan", "infomax_gan", "cgan_pd"])
def test_a_generator_is_recognised_by_its_weights(family: str) -> None:
    load()
    from torch_mimicry import nets

    name = {"infomax_gan": "InfoMaxGAN"}.get(family, family.upper().replace("_", ""))
    classes = {"num_classes": 4} if family == "cgan_pd" else {}
    theirs = getattr(getattr(nets, family), f"{name}Generator32")(nz=7, ngf=6, **classes)
    spec = generator_spec(theirs.state_dict())
    assert spec["init_args"] == {"image_shape": SHAPE, "nz": 7, "ngf": 6, "bottom_width": 4, **classes}
    ours = build(spec, nn.Module)
    from_mimicry(theirs.state_dict(), ours)
    noise, labels = torch.randn(2, 7), (torch.tensor([3, 0]),) if classes else ()
    torch.testing.assert_close(ours.eval()(noise, *labels), theirs.eval()(noise, *labels))


def test_refusals() -> None:
    load()
    from torch_mimicry.nets.sagan import SAGANGenerator32
    from torch_mimicry.nets.sngan import SNGANGenerator48
    from torch_mimicry.nets.ssgan import SSGANDiscriminator32

    ours, theirs, _ = pair("sngan", "Discriminator")
    with pytest.raises(UserError, match="do not fit SNGANDiscriminator: '.*l_y"):
        from_mimicry(SSGANDiscriminator32(ndf=6).state_dict(), ours)
    with pytest.raises(UserError, match="shortcut_relu: true"):
        from_mimicry(theirs.state_dict(), SNGANDiscriminator(SHAPE, ndf=6))
    with pytest.raises(UserError, match="upsampling: bilinear"):
        to_mimicry(SNGANGenerator(SHAPE, nz=5, ngf=6, upsampling="nearest"), theirs)
    with pytest.raises(UserError, match="must have shape"):
        to_mimicry(SNGANDiscriminator(SHAPE, ndf=8, shortcut_relu=True), theirs)
    with pytest.raises(UserError, match="is not an SN-ResNet"):
        to_mimicry(nn.Linear(1, 1), theirs)
    for other in (SAGANGenerator32(num_classes=3, nz=5, ngf=8), SNGANGenerator48(nz=5, ngf=16), nn.Linear(1, 1)):
        with pytest.raises(UserError, match="name its class"):
            generator_spec(other.state_dict())
