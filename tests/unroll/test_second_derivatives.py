"""Layers whose second derivatives torch has wrong or not at all: the engine's gradient against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gendistill import unroll
from gendistill.nets.exact import TwiceDifferentiable
from gendistill.seeds import initialisation, stream
from gendistill.unroll.direct import direct_loss

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]
T, B, K, SHAPE = 3, 4, 3, (4, 5, 5)


def convolution() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3)


class Attention(nn.Module):
    """Attention between pixels, in which torch calls a fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(2).transpose(1, 2))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: parametrizations.weight_norm(convolution()),
    "weight norm of inputs": lambda: parametrizations.weight_norm(convolution(), dim=1),
    "weight norm of columns": lambda: parametrizations.weight_norm(convolution(), dim=3),
    "one norm": lambda: parametrizations.weight_norm(convolution(), dim=None),
    "hooked weight norm": lambda: torch.nn.utils.weight_norm(convolution()),
    "attention": Attention,
}


class Net(nn.Module):
    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.conv, self.middle, self.head = nn.Conv2d(4, 4, 3, padding=1), middle, nn.LazyLinear(K)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.softplus(self.middle(torch.tanh(self.conv(x)))).flatten(1))


def network(layer: str) -> nn.Module:
    with initialisation(0, "learner"):
        net = Net(LAYERS[layer]()).double()
        net(torch.randn(1, *SHAPE, dtype=torch.float64))
    return net


@pytest.mark.parametrize("memory", ["full", "sqrt", "together"])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_gradient_is_that_of_finite_differences(layer: str, memory: Any) -> None:
    net, draw = network(layer), stream(0, "lesson")
    options: dict[str, Any] = {"generator": draw, "dtype": torch.float64}
    images, real = torch.randn(T, B, *SHAPE, **options), torch.randn(7, *SHAPE, **options)
    given = {"images": images, "rates": 0.1 + 0.1 * torch.rand(T, **options)} | unroll.initial_parameters(net)
    ways = {name: torch.randn(value.shape, **options) for name, value in given.items()}
    learner, labels, told = net, torch.arange(T * B).view(T, B) % K, torch.arange(7) % K

    def loss(values: dict[str, Tensor]) -> Tensor:
        theta = {name: value for name, value in values.items() if name not in ("images", "rates")}
        rules: dict[str, Any] = {"memory": memory, "inner_loss": F.cross_entropy}
        asked: Any = lambda step, found: F.cross_entropy(unroll.call(net, found, real), told) if step == T else None  # noqa: E731
        one = learner
        if memory == "together":
            one = unroll.Together([net, net])
            theta = {name.replace(".", "/"): torch.stack([value, value]) for name, value in theta.items()}
            rules = {"memory": "recompute", "inner_loss": unroll.summed(F.cross_entropy)}
            asked = lambda step, found: F.cross_entropy(unroll.call(one, found, real)[0], told) if step == T else None  # noqa: E731
        rates = values["rates"]
        momenta = torch.full((T,), 0.5, dtype=torch.float64)
        return unroll.unrolled_loss(
            one, values["images"], labels, rates, momenta, asked, parameters=theta, **rules
        ).loss

    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    found = torch.autograd.grad(loss(leaves), list(leaves.values()))
    slope = sum((gradient * way).sum() for gradient, way in zip(found, ways.values(), strict=True))
    far, near = (loss({name: value + h * ways[name] for name, value in given.items()}).detach() for h in (1e-6, -1e-6))
    torch.testing.assert_close((far - near) / 2e-6, slope, rtol=2e-8, atol=1e-9)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_pass_gives_what_torchs_gives_and_nothing_stays_changed(layer: str) -> None:
    net = network(layer)
    x = torch.randn(B, *SHAPE, generator=stream(0, "x"), dtype=torch.float64)
    expected = net(x)
    exact = TwiceDifferentiable(net)
    with exact(), exact():
        torch.testing.assert_close(net(x), expected, rtol=1e-13, atol=1e-13)
    assert not any("forward" in vars(module) for module in net.modules())
    hooks = [hook for module in net.modules() for hook in module._forward_pre_hooks.values()]
    assert not any("compute_weight" in vars(hook) for hook in hooks)


def test_the_shortcut_with_one_step_too() -> None:
    net = network("weight norm")
    images = torch.randn(1, B, *SHAPE, generator=stream(0, "x"), dtype=torch.float64).requires_grad_()
    rate, labels = torch.full((1,), 0.2, dtype=torch.float64), torch.arange(B)[None] % K
    look: Any = lambda step, theta: sum(value.square().sum() for value in theta.values())  # noqa: E731
    one = direct_loss(net, images, labels, rate, look, parameters=unroll.initial_parameters(net)).loss
    other = unroll.unrolled_loss(net, images, labels, rate, rate, look).loss
    for first, second in zip(*(torch.autograd.grad(loss, images) for loss in (one, other)), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=0)
