from __future__ import annotations

import pytest
import torch
from torch import nn

from gendistill.data.description import Description, Normalisation
from gendistill.errors import UserError
from gendistill.nets.learners import ACTIVATIONS, MLP, NORMALISATIONS, POOLINGS, ConvNet, LeNet, default_learner
from gendistill.objects import build


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("shape", "count"), [((3, 32, 32), 320_010), ((1, 28, 28), 317_706)])
def test_convnet_has_the_papers_parameter_count(shape, count):
    net = ConvNet(10, shape)
    assert parameters(net) == count
    assert net.features(torch.zeros(2, *shape)).shape == (2, 2048)


def test_lenet_and_mlp_have_the_papers_parameter_counts():
    # LeNet: 6*25*1+6 + 16*25*6+16 + 400*120+120 + 120*84+84 + 84*10+10; the same maps for 28x28 and 32x32.
    assert parameters(LeNet(10, (1, 28, 28))) == 61_706
    assert parameters(LeNet(10, (3, 32, 32))) == 61_706 + 2 * 6 * 25
    assert parameters(MLP(10, (1, 28, 28))) == 784 * 128 + 128 + 128 * 128 + 128 + 1290


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_option_gives_logits_with_a_gradient(normalisation, activation, pooling):
    net = ConvNet(3, (2, 8, 12), width=4, depth=2, normalisation=normalisation, activation=activation, pooling=pooling)
    logits = net(torch.randn(5, 2, 8, 12, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (5, 3)
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        # A bias before a normalisation over the same channel has no effect, hence no gradient.
        assert parameter.grad is not None
        if not name.endswith("bias"):
            assert parameter.grad.abs().sum() > 0, name


def test_instance_normalisation_is_per_image_and_channel():
    net = ConvNet(3, (1, 8, 8), width=6, depth=1, pooling="none", activation="leaky_relu")
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = net.blocks[0](images)
    expected = (maps - maps.mean((2, 3), keepdim=True)) / (maps.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(net.features(images), nn.functional.leaky_relu(expected).flatten(1))


def test_logits_are_the_classifier_on_the_features():
    for net in (ConvNet(3, (1, 8, 8), 4, 2), MLP(3, (1, 8, 8)), LeNet(3, (1, 8, 8))):
        images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(net(images), net.classifier(net.features(images)))


@pytest.mark.parametrize("side", [4, 5, 8, 16, 31, 33, 48])
def test_lenet_takes_any_side_from_four(side):
    assert LeNet(10, (1, side, side))(torch.zeros(1, 1, side, side)).shape == (1, 10)


@pytest.mark.parametrize(("side", "deepest"), [(8, 3), (28, 5), (32, 5), (10, 3)])
def test_too_deep_says_how_deep(side, deepest):
    ConvNet(10, (1, side, side), 4, deepest)(torch.zeros(1, 1, side, side))
    with pytest.raises(UserError, match=f"depth {deepest} or less"):
        ConvNet(10, (1, side, side), 4, deepest + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalisation": "instanse"}, "did you mean 'instance'"),
        ({"activation": "rely"}, "did you mean 'relu'"),
        ({"pooling": "avrage"}, "did you mean 'average'"),
        ({"width": 0}, "at least 1"),
        ({"width": 6, "normalisation": "group"}, "multiple of 4"),
        ({"num_classes": 1}, "at least 2"),
        ({"image_shape": (1, 8)}, "channels, height, width"),
    ],
)
def test_bad_options_are_explained(options, message):
    with pytest.raises(UserError, match=message):
        ConvNet(**({"num_classes": 3, "image_shape": (1, 8, 8)} | options))


def test_lenet_refuses_tiny_images():
    with pytest.raises(UserError, match="at least 4"):
        LeNet(3, (1, 3, 8))


@pytest.mark.parametrize(
    ("side", "options"),
    [(8, (32, 2)), (16, (64, 2)), (28, (128, 3)), (32, (128, 3)), (64, (128, 4)), (128, (128, 5))],
)
def test_default_learner_fits_the_image(side, options):
    description = Description("x", ("a", "b"), (1, side, side), Normalisation((0.5,), (0.5,)))
    net = build(default_learner(description), nn.Module, num_classes=2, image_shape=description.image_shape)
    assert isinstance(net, ConvNet)
    assert (net.blocks[0].out_channels, len(net.blocks) // 4) == options
    assert net(torch.zeros(1, 1, side, side)).shape == (1, 2)
