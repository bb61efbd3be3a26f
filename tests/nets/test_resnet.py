"""The classifier of Table C.1: layers and parameters counted by hand, and the same net written out step by step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.nets.learners import NORMALISATIONS, build_learner
from gendistill.nets.resnet import ResNet
from gendistill.teacher import RealSubset

PATH = "gendistill.nets.resnet.ResNet"


def test_the_resnet18_of_the_condensation_papers_has_a_name() -> None:
    named, spelt = (
        build_learner(spec, num_classes=10, image_shape=(3, 32, 32))
        for spec in (
            f"{PATH}18",
            {"class_path": PATH, "init_args": {"normalisation": "instance", "stem_pooling": False}},
        )
    )
    assert {name: value.shape for name, value in named.state_dict().items()} == {
        name: value.shape for name, value in spelt.state_dict().items()
    }
    named.load_state_dict(spelt.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(named.eval()(images), spelt.eval()(images))


def count_by_hand(channels: int, width: int, classes: int) -> int:
    """Table C.1 line by line; a batch norm has two numbers a channel."""
    a, b, c, d = width, 2 * width, 4 * width, 8 * width
    stem = 9 * channels * a + 2 * a
    first = 4 * (9 * a * a + 2 * a)
    second = (9 * a * b + 2 * b) + (a * b + 2 * b) + 3 * (9 * b * b + 2 * b)
    third = (9 * b * c + 2 * c) + (b * c + 2 * c) + 3 * (9 * c * c + 2 * c)
    fourth = (9 * c * d + 2 * d) + (c * d + 2 * d) + 3 * (9 * d * d + 2 * d)
    return stem + first + second + third + fourth + d * classes + classes


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize(("channels", "width", "classes"), [(3, 64, 10), (1, 8, 3), (3, 5, 100)])
def test_parameters_are_those_of_the_table(channels: int, width: int, classes: int) -> None:
    with torch.device("meta"):
        net = ResNet(classes, (channels, 32, 32), width)
    assert sum(parameter.numel() for parameter in net.parameters()) == count_by_hand(channels, width, classes)
    assert count_by_hand(3, 64, 10) == 11_173_962


def test_layers_are_those_of_the_table() -> None:
    with torch.device("meta"):
        net = ResNet(10, (3, 32, 32))
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    sizes = [conv.kernel_size[0] for conv in convs]
    assert (sizes.count(3), sizes.count(1), len(sizes)) == (17, 3, 20)
    assert [conv.out_channels for conv in convs if conv.kernel_size == (1, 1)] == [128, 256, 512]
    widths = [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    strides = [1] * 5 + [2, 1, 1, 1] * 3
    assert [(c.out_channels, c.stride[0]) for c in convs if c.kernel_size == (3, 3)] == list(
        zip(widths, strides, strict=True)
    )
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 20


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32), (3, 48, 48), (1, 64, 64), (2, 9, 14)]
)
@pytest.mark.parametrize("width", [2, 4])
def test_any_size_channels_and_width(shape: tuple[int, int, int], width: int) -> None:
    net = ResNet(3, shape, width)
    images = noise(2, *shape)
    assert net(images).shape == (2, 3)
    assert net.features(images).shape == (2, 8 * width)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_normalisation_trains_all_weights(normalisation: str) -> None:
    net = ResNet(3, (1, 12, 8), 4, normalisation)
    net(noise(5, 1, 12, 8)).square().sum().backward()
    for name, parameter in net.named_parameters():
        # On a map of one pixel normalising each image's channel by itself leaves nothing but the shift.
        if normalisation != "instance" or "blocks" not in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_it_is_the_network_written_out() -> None:
    net = ResNet(3, (1, 9, 9), 3).double()
    state = net.state_dict()

    def conv_norm(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * state[f"{norm}.weight"][:, None, None] + state[f"{norm}.bias"][:, None, None]

    images = noise(4, 1, 9, 9, dtype=torch.float64)
    x = F.max_pool2d(conv_norm(images, "stem", "norm").relu(), 3, 2, 1)
    for block in range(8):
        name, stride = f"blocks.{block}", 2 if block in (2, 4, 6) else 1
        h = conv_norm(x, f"{name}.conv1", f"{name}.norm1", stride).relu()
        h = conv_norm(h, f"{name}.conv2", f"{name}.norm2")
        x = (h + (conv_norm(x, f"{name}.shortcut.0", f"{name}.shortcut.1", 2) if stride == 2 else x)).relu()
    expected = x.mean((2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(net(images), expected)


def test_it_can_be_differentiated_twice() -> None:
    net = ResNet(3, (1, 8, 8), 2).double()
    images = noise(3, 1, 8, 8, dtype=torch.float64).requires_grad_()

    def slope(x: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(net(x).square().sum(), net.stem.weight, create_graph=True)
        return gradient

    assert torch.autograd.gradcheck(slope, (images,), fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("batched", [False, True])
def test_learning_curve_judges_with_it(tiny_data, batched: bool) -> None:
    learner = {"class_path": PATH, "init_args": {"width": 4}}
    result = learning_curve(
        RealSubset.all(tiny_data.train, tiny_data.description),
        tiny_data,
        learner=learner,
        updates=(0, 40),
        seeds=2,
        batch_size=24,
        lr=[0.05, 0.01],
        batched=batched,
    )
    assert result["parameters"] == count_by_hand(1, 4, 3)
    # In evaluation mode running statistics count: without them the trained network would answer by chance.
    assert result["accuracy"]["mean"][1] > 0.9 > result["accuracy"]["mean"][0]


def test_both_ways_of_training_many_agree(tiny_data) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    learner = {"class_path": PATH, "init_args": {"width": 4}}
    options = {"learner": learner, "updates": (3,), "seeds": 3, "batch_size": 24, "lr": 0.02}
    one, other = (learning_curve(teacher, tiny_data, batched=batched, **options) for batched in (False, True))
    assert one["accuracy"] == other["accuracy"]
    assert one["accuracy"]["std"][0] > 0, "learners of different seeds must differ"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "at least 1"),
        ({"normalisation": "batsh"}, "did you mean 'batch'"),
        ({"width": 6, "normalisation": "group"}, "multiple of 4"),
        ({"num_classes": 1}, "at least 2"),
    ],
)
def test_refusals(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ResNet(**({"num_classes": 3, "image_shape": (1, 8, 8)} | options))
