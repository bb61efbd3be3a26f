from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gendistill.data.digits import load_digits
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.nets.statistics import statistics_with_graph
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm, WeightNormConvNet
from gendistill.seeds import initialisation, stream
from gendistill.teacher import RealSubset

SMALL = {"widths": [4, 6], "hidden": None}


def net(shape: tuple[int, int, int] = (1, 8, 8), **options: object) -> WeightNormConvNet:
    with initialisation(0, "learner"):
        return WeightNormConvNet(10, shape, **({**SMALL} | options))  # type: ignore[arg-type]


def images(count: int = 6, shape: tuple[int, int, int] = (1, 8, 8)) -> torch.Tensor:
    return torch.randn(count, *shape, generator=stream(0, "images"))


def test_the_papers_widths_have_the_papers_parameter_count() -> None:
    # Directions, a length and a bias for every output; 28 -> 14 -> 7 by the poolings.
    expected = (9 * 64 + 64 + 64) + (9 * 64 * 128 + 128 + 128) + (128 * 49 * 256 + 256 + 256) + (2560 + 10 + 10)
    assert sum(p.numel() for p in WeightNormConvNet(10, (1, 28, 28)).parameters()) == expected
    small = WeightNormConvNet(10, (1, 28, 28), widths=[16, 32], hidden=None)
    assert sum(p.numel() for p in small.parameters()) == 20_548


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize(
    "options", [{}, {"hidden": 8}, {"global_pool": True}, {"widths": [4, 4, 6, 6, 6], "pool_every": 2}]
)
def test_every_shape_gives_logits_and_a_gradient_everywhere(shape, options) -> None:
    learner = net(shape, **options)
    logits = learner(images(5, shape))
    assert logits.shape == (5, 10)
    F.cross_entropy(logits, torch.arange(5)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.parameters())


def test_weights_are_those_of_torchs_weight_norm() -> None:
    learner = net(hidden=7)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream(1, "weights")))
    x = images()
    for convolution, norm in zip(learner.convolutions, learner.norms, strict=True):
        weight = torch._weight_norm(convolution.weight, convolution.length)
        x = F.max_pool2d(F.conv2d(x, weight, padding=1), 3, 2, 1)
        x = F.leaky_relu(x - x.mean((0, 2, 3), keepdim=True) + norm.bias.view(1, -1, 1, 1), 0.1)
    x = F.linear(x.flatten(1), torch._weight_norm(learner.hidden.weight, learner.hidden.length))
    x = F.leaky_relu(x - x.mean(0) + learner.hidden_norm.bias, 0.1)
    last = learner.classifier
    expected = F.linear(x, torch._weight_norm(last.weight, last.length), last.bias)
    torch.testing.assert_close(learner(images()), expected)


def test_initial_weights_are_the_same_with_and_without_weight_normalisation() -> None:
    torch.testing.assert_close(net()(images()), net(weight_norm=False)(images()))
    assert not any(name.endswith("length") for name, _ in net(weight_norm=False).named_parameters())


def test_evaluation_subtracts_the_last_batchs_mean() -> None:
    learner = net()
    learner(images() + 5)
    shown = learner(images())
    learner.eval()
    torch.testing.assert_close(learner(images()), shown)  # the last batch's means, not a mixture
    one = learner(images()[:1])
    torch.testing.assert_close(one, shown[:1])  # independent of the rest of the batch


def test_running_mean_moves_by_the_momentum() -> None:
    layer = MeanOnlyBatchNorm(3, momentum=0.25)
    x = torch.randn(8, 3, generator=stream(0, "x"))
    layer(x)
    layer(x + 1)
    torch.testing.assert_close(layer.running_mean, 0.75 * 0.25 * x.mean(0) + 0.25 * (x.mean(0) + 1))


def test_running_means_carry_a_graph_only_where_asked() -> None:
    layer = MeanOnlyBatchNorm(3)
    x = torch.randn(8, 3, generator=stream(0, "x"), requires_grad=True)
    layer(x)
    assert not layer.running_mean.requires_grad
    buffers = {"running_mean": layer.running_mean.clone()}
    with statistics_with_graph(layer):
        torch.func.functional_call(layer, buffers, (x,))
    torch.testing.assert_close(torch.autograd.grad(buffers["running_mean"].sum(), x)[0], torch.full((8, 3), 1 / 8))
    assert not layer.running_mean.requires_grad


@pytest.mark.parametrize("momentum", [1.0, 0.5])
def test_learning_curves_are_the_same_stacked_and_separate(momentum: float) -> None:
    data = load_digits()
    teacher = RealSubset.random(data.train, data.description, generator=stream(0, "subset"), images_per_class=20)
    spec = {
        "class_path": "gendistill.nets.weight_normalised.WeightNormConvNet",
        "init_args": {**SMALL, "momentum": momentum},
    }
    curves = [
        learning_curve(teacher, data, learner=spec, updates=[3, 20], seeds=2, lr=0.3, batched=batched)
        for batched in (False, True)
    ]
    found = [torch.tensor(curve["accuracy"]["runs"]) for curve in curves]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0.005)  # images whose logits tie may differ
    assert found[0][1].mean() > 0.3


def test_what_cannot_be_built_is_said() -> None:
    with pytest.raises(UserError, match="at least one width"):
        net(widths=[])
    with pytest.raises(UserError, match="momentum"):
        net(momentum=0.0)
