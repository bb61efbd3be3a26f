"""AlexNet and VGG11 against the public definitions, written out layer by layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gendistill.commands.judge import learner_spec
from gendistill.errors import UserError
from gendistill.nets.deep_learners import VGG11, AlexNet
from gendistill.nets.learners import NORMALISATIONS, Learner
from gendistill.nets.resnet import ResNet, ResNet18


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def published_vgg11(channels: int, batch: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (64, None, 128, None, 256, 256, None, 512, 512, None, 512, 512, None):
        if width is None:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        padding = 3 if channels == 1 else 1
        norm = nn.BatchNorm2d(width) if batch else nn.InstanceNorm2d(width, affine=True)
        layers += [nn.Conv2d(channels, width, 3, padding=padding), norm, nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def published_alexnet(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 128, 5, padding=4 if channels == 1 else 2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(128, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(192, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 192, 3, padding=1), nn.ReLU(),
        nn.Conv2d(192, 192, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(192 * 4 * 4, 10),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
@pytest.mark.parametrize("name", ["vgg11", "vgg11-bn", "alexnet"])
def test_logits_are_those_of_the_published_network(shape: tuple[int, int, int], name: str) -> None:
    net: Learner
    if name == "alexnet":
        net, other = AlexNet(10, shape), published_alexnet(shape[0])
    else:
        batch = name.endswith("bn")
        net, other = VGG11(10, shape, normalisation="batch" if batch else "instance"), published_vgg11(shape[0], batch)
    with torch.no_grad():
        for one, value in zip(net.parameters(), other.parameters(), strict=True):
            assert one.shape == value.shape
            # Norms begin at 1 and 0, which would hide one in the wrong place.
            value += 0.1 * images(*value.shape)
            one.copy_(value)
        x = images(3, *shape)
        torch.testing.assert_close(net(x), other(x), rtol=1e-3, atol=1e-4)


def test_they_have_the_published_parameter_counts() -> None:
    assert parameters(VGG11(10, (3, 32, 32))) == parameters(VGG11(10, (3, 32, 32), normalisation="batch")) == 9_231_114
    assert parameters(AlexNet(10, (3, 32, 32))) == 1_872_202
    assert parameters(ResNet(10, (3, 32, 32), stem_pooling=False)) == 11_173_962


def test_the_papers_resnet18_is_the_residual_classifier_without_pooling() -> None:
    named = ResNet18(10, (3, 32, 32), width=8)
    same = ResNet(10, (3, 32, 32), width=8, normalisation="instance", stem_pooling=False)
    assert learner_spec("ResNet18") == "gendistill.nets.resnet.ResNet18"
    same.load_state_dict(named.state_dict())
    x = images(2, 3, 32, 32)
    assert torch.equal(named.eval()(x), same.eval()(x)) and parameters(named) == parameters(same)


@pytest.mark.parametrize("kind", [AlexNet, VGG11])
@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 8, 8), (3, 17, 20), (3, 64, 64)])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_any_size_and_normalisation_learns_in_every_layer(
    kind, shape: tuple[int, int, int], normalisation: str
) -> None:
    net = kind(3, shape, width=8, normalisation=normalisation)
    logits = net(images(4, *shape))
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        if not name.endswith("bias"):
            assert parameter.grad.abs().sum() > 0, name


def test_an_unpooled_stem_keeps_maps_twice_as_large() -> None:
    pooled, plain = (ResNet(10, (3, 32, 32), width=4, stem_pooling=pooling) for pooling in (True, False))
    assert plain.state_dict().keys() == pooled.state_dict().keys()
    sides = []
    for net in (pooled, plain):
        net.blocks.register_forward_hook(lambda module, given, maps: sides.append(tuple(maps.shape[-2:])))
        net(images(2, 3, 32, 32))
    assert sides == [(2, 2), (4, 4)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: VGG11(10, (3, 32, 32), normalisation="insance"), "did you mean 'instance'?"),
        (lambda: VGG11(10, (3, 1, 32)), "too small"),
        (lambda: VGG11(10, (3, 32, 32), width=0), "at least 1"),
        (lambda: VGG11(10, (3, 32, 32), width=3, normalisation="group"), "a multiple of 4"),
        (lambda: AlexNet(10, (3, 32, 32), width=5), "an even number"),
        (lambda: AlexNet(1, (3, 32, 32)), "at least 2"),
    ],
)
def test_mistakes_are_explained(make, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        make()
