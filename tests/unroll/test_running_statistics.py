"""Running statistics of torch's layers in what is differentiated: against finite differences and torch's own values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.nets.layers import BatchNorm2d
from gendistill.nets.statistics import constant_statistics, keeping_graph, statistics_with_graph
from gendistill.outer import LossesTogether, RealLoss
from gendistill.seeds import initialisation, stream
from gendistill.unroll.learner import AsFunction, call_and_track

T, B, K = 4, 5, 3
SHAPE = (2, 5, 5)


class Skipping(nn.Module):
    """A normalisation that only some batches pass, and whose statistics the others leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) if not self.training or x.sum() > 0 else x.tanh()


class Assigned(nn.Module):
    """A layer of one's own, with a statistic that it puts another tensor in the place of."""

    keep = True
    centre: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(4))
        self.register_buffer("window", torch.ones(3))  # a constant, which is none of these

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean = x.mean((0, 2, 3))
            self.centre = 0.9 * self.centre + 0.1 * (mean if self.keep and keeping_graph() else mean.detach())
        return x - self.centre.view(1, -1, 1, 1)


MIDDLES: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.BatchNorm2d(4),
    "plain, slow": lambda: nn.BatchNorm2d(4, momentum=0.6, affine=False),
    "average of all": lambda: nn.BatchNorm2d(4, momentum=None),
    "flat": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36)),
    "instances": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "weight norm": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))),
    "skipping": Skipping,
    "own": Assigned,
}


class Net(nn.Module):
    """Small and smooth; with a normalisation of the images, whose statistics depend on nothing else."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first, self.conv = nn.BatchNorm2d(2, momentum=0.3, affine=False), nn.Conv2d(2, 4, 3, bias=False)
        self.middle, self.head = middle, nn.Linear(36, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.softplus(self.middle(self.conv(self.first(x)))).flatten(1))


def learner(kind: str, name: str = "learner") -> nn.Module:
    with initialisation(0, name):
        return Net(MIDDLES[kind]()).double()


def values(network: nn.Module) -> dict[str, Tensor]:
    draw: dict[str, Any] = {"generator": stream(0, "lesson"), "dtype": torch.float64}
    found = {
        "images": torch.randn(T, B, *SHAPE, **draw),
        "labels": torch.randn(T, B, K, **draw).softmax(-1),
        "learning_rates": 0.1 + 0.1 * torch.rand(T, **draw),
        "momenta": 0.3 + 0.5 * torch.rand(T, **draw),
    }
    return found | unroll.initial_parameters(network)


def judged(network: nn.Module, given: dict[str, Tensor], memory: Any, rule: Any) -> Tensor:
    images = 1 + 2 * torch.randn(2, 7, *SHAPE, generator=stream(1, "real"), dtype=torch.float64)
    look = RealLoss(network, [2, T], images, torch.arange(14).view(2, 7) % K, evaluation=True)
    lesson = {name: given[name] for name in ("images", "labels", "learning_rates", "momenta")}
    theta = {name: value for name, value in given.items() if name not in lesson}
    options: dict[str, Any] = {"memory": memory, "optimizer": rule, "buffers": True}
    return unroll.unrolled_loss(network, **lesson, outer_loss=look, parameters=theta, **options).loss


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("kind", MIDDLES)
def test_the_gradient_is_that_of_finite_differences_in_every_mode(kind: str, rule: str) -> None:
    network, slopes = learner(kind), []
    given = values(network)
    draw = stream(2, "way")
    ways = {name: torch.randn(value.shape, generator=draw, dtype=torch.float64) for name, value in given.items()}
    for memory in unroll.MEMORY_MODES:
        leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
        loss = judged(network, leaves, memory, rule)
        found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        slopes.append(torch.stack([(g * way).sum() for g, way in zip(found, ways.values(), strict=True)]))
    for other in slopes[1:]:
        torch.testing.assert_close(other, slopes[0], rtol=1e-8, atol=1e-9)
    # Each by itself: one that is small would not show in their sum.
    for name, slope in zip(ways, slopes[0], strict=True):
        if rule == "adam" and name == "momenta":
            continue
        misses = []
        # Adam's first step is nearly the gradient's sign: the shorter way is less likely to pass a change of it.
        for step in (1e-6, 1e-7, 1e-8):
            moved = ({name: given[name] + way * ways[name]} for way in (step, -step))
            far, near = (judged(network, given | one, "full", rule) for one in moved)
            misses.append(float(((far - near) / (2 * step) - slope).detach().abs()))
        assert min(misses) <= 2e-6 * abs(float(slope.detach())) + 2e-8, (name, misses, slope)


@pytest.mark.parametrize("kind", [kind for kind in MIDDLES if kind != "skipping"])
def test_values_are_those_of_torch(kind: str) -> None:
    network = learner(kind)
    x = torch.randn(B, *SHAPE, generator=stream(3, "x"), dtype=torch.float64)
    theta = dict(network.named_parameters())
    kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for _ in range(3):
        logits, kept = call_and_track(AsFunction(network), theta, kept, x)
        torch.testing.assert_close(network(x), logits, rtol=1e-13, atol=1e-13)
        x = x + 1
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(kept[name].detach(), buffer, rtol=1e-13, atol=1e-13)
    looked = unroll.call(network, {**theta, **kept}, x, evaluation=True)
    torch.testing.assert_close(looked, network.eval()(x), rtol=1e-12, atol=1e-12)
    assert not any("forward" in vars(module) or "_apply_instance_norm" in vars(module) for module in network.modules())
    assert not any(buffer.requires_grad for buffer in network.buffers()) or kind == "own"


@pytest.mark.parametrize("memory", unroll.MEMORY_MODES)
@pytest.mark.parametrize("kind", ["batch norm", "instances", "flat", "own"])
def test_learners_trained_together_have_the_same_gradient(kind: str, memory: Any) -> None:
    nets = [learner(kind, f"learner {number}") for number in range(2)]
    draw, found = stream(1, "real"), []
    images, labels = torch.randn(2, 1, 7, *SHAPE, generator=draw, dtype=torch.float64), torch.arange(7)[None] % K
    for together in (True, False):
        given = {name: value.clone().requires_grad_() for name, value in list(values(nets[0]).items())[:4]}
        looks = [RealLoss(net, [T], own, labels, evaluation=True) for net, own in zip(nets, images, strict=True)]
        options: dict[str, Any] = {"memory": memory, "buffers": True}
        if together:
            network = unroll.Together(nets)
            asked, inner = LossesTogether(network, looks), unroll.summed(F.cross_entropy)
            loss = unroll.unrolled_loss(network, **given, outer_loss=asked, inner_loss=inner, **options).loss
        else:
            losses = [
                unroll.unrolled_loss(net, **given, outer_loss=look, **options).loss
                for net, look in zip(nets, looks, strict=True)
            ]
            loss = torch.stack(losses).sum()
        found.append([loss.detach(), *torch.autograd.grad(loss, list(given.values()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


class Forgetful(Assigned):
    keep = False


class Function(nn.Module):
    """Torch's function with buffers of one's own, which its kernel moves unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("a", torch.zeros(4))
        self.register_buffer("b", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.a, self.b, training=self.training)


class Anew(nn.BatchNorm2d):
    """Torch's layer with a forward pass of one's own."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    ("middle", "names"),
    [
        (Forgetful, "middle.centre"),
        (Function, "middle.a, middle.b"),
        (lambda: Anew(4), "middle.running_mean, middle.running_var"),
        (lambda: BatchNorm2d(4), "middle.running_mean, middle.running_var"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_statistics_without_a_graph_are_refused(middle: Any, names: str, together: bool) -> None:
    network = Net(middle()).double()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    one = unroll.Together([network, network]) if together else network
    given = list(values(network).values())[:4]
    with pytest.raises(UserError, match=f"Net moves its {names} without a gradient.*statistics: batch"):
        unroll.unrolled_loss(one, *given, lambda step, theta: None, buffers=True)
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())
    look = RealLoss(network, [T], given[0][0][None], torch.arange(B)[None] % K)
    unroll.unrolled_loss(network, *given, look)  # their batches' own statistics


def test_what_is_known_is_not_called() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.utils.spectral_norm(nn.Conv2d(2, 2, 1)), nn.InstanceNorm2d(2))
    network.append(nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 2, 1)))

    def call(buffers: dict[str, Tensor]) -> None:
        raise AssertionError

    assert constant_statistics(network, call) == []
    with statistics_with_graph(network), statistics_with_graph(network):
        assert keeping_graph()
    assert not keeping_graph() and "forward" not in vars(network[0])
