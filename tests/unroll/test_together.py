"""Learners trained together are those trained one after another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.nets.learners import ConvNet
from gendistill.nets.weight_normalised import WeightNormConvNet
from gendistill.outer import LossesTogether, RealLoss
from gendistill.seeds import initialisation, stream

T, B, CLASSES, SHAPE = 3, 6, 3, (1, 8, 8)


def weight_norm() -> nn.Module:
    return WeightNormConvNet(CLASSES, SHAPE, widths=[2, 3], hidden=None)


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten(), nn.Linear(72, CLASSES))


def conv_net() -> nn.Module:
    net = ConvNet(CLASSES, SHAPE, width=3, depth=2)
    next(net.parameters()).requires_grad_(False)
    return net


def learners(make: Any, count: int = 3) -> list[nn.Module]:
    found = []
    for number in range(count):
        with initialisation(number, "learner"):
            found.append(make().double())
    return found


def lesson(soft: bool) -> dict[str, Tensor]:
    draw = stream(0, "lesson")
    options: dict[str, Any] = {"generator": draw, "dtype": torch.float64}
    hard = torch.arange(T * B).view(T, B) % CLASSES
    return {
        "images": torch.randn(T, B, *SHAPE, **options).requires_grad_(),
        "labels": torch.randn(T, B, CLASSES, **options).softmax(-1).requires_grad_() if soft else hard,
        "learning_rates": (0.05 + 0.1 * torch.rand(T, **options)).requires_grad_(),
        "momenta": (0.5 + 0.4 * torch.rand(T, **options)).requires_grad_(),
    }


def outer_losses(nets: list[nn.Module], evaluation: bool) -> list[RealLoss]:
    draw = stream(1, "real")
    labels = torch.arange(2 * B).view(2, B) % CLASSES
    return [
        RealLoss(net, [2, T], torch.randn(2, B, *SHAPE, generator=draw, dtype=torch.float64), labels, evaluation)
        for net in nets
    ]


@pytest.mark.parametrize(
    ("make", "given", "soft"),
    [
        (weight_norm, {"memory": "full", "buffers": True}, False),
        (weight_norm, {"memory": "recompute", "buffers": True}, True),
        (weight_norm, {"memory": "sqrt", "optimizer": "adam", "window": 2}, False),
        (batch_norm, {"memory": "full", "buffers": True}, True),
        (conv_net, {"memory": "recompute"}, False),
    ],
)
def test_together_they_learn_what_they_learn_one_by_one(make: Any, given: dict[str, Any], soft: bool) -> None:
    nets, evaluation = learners(make), bool(given.get("buffers"))
    found = []
    for together in (False, True):
        shown, outers = lesson(soft), outer_losses(nets, evaluation)
        if together:
            network = unroll.Together(nets)
            theta = {name: value.requires_grad_() for name, value in unroll.initial_parameters(network).items()}
            outer, inner = LossesTogether(network, outers), unroll.summed(torch.nn.functional.cross_entropy)
            result = unroll.unrolled_loss(
                network, **shown, outer_loss=outer, parameters=theta, inner_loss=inner, **given
            )
            total, ends = result.loss, list(result.parameters.values())
            starts, buffers = [[value] for value in theta.values()], list(result.buffers.values())
        else:
            each = [{n: v.requires_grad_() for n, v in unroll.initial_parameters(net).items()} for net in nets]
            results = [
                unroll.unrolled_loss(net, **shown, outer_loss=outer, parameters=theta, **given)
                for net, theta, outer in zip(nets, each, outers, strict=True)
            ]
            total = torch.stack([result.loss for result in results]).sum()
            ends = [torch.stack(list(one)) for one in zip(*(r.parameters.values() for r in results), strict=True)]
            buffers = [torch.stack(list(one)) for one in zip(*(r.buffers.values() for r in results), strict=True)]
            starts = [list(one) for one in zip(*(theta.values() for theta in each), strict=True)]
        wanted = [value for value in shown.values() if value.requires_grad]
        flat = [value for one in starts for value in one] if not given.get("window") else []
        gradients = list(torch.autograd.grad(total, [*wanted, *flat], materialize_grads=True))
        if flat and not together:
            rest = gradients[len(wanted) :]
            gradients[len(wanted) :] = [torch.stack(rest[k : k + len(nets)]) for k in range(0, len(rest), len(nets))]
        noted = [torch.stack([o.final_loss for o in outers]), torch.stack([o.final_accuracy for o in outers])]
        found.append([total.detach(), *gradients, *ends, *buffers, *noted])
    assert len(found[0]) == len(found[1])
    assert found[0][1].abs().max() > 1e-6  # the images' gradient
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-11)


def test_the_learners_stay_as_they_are() -> None:
    nets = learners(batch_norm)
    before = [{name: value.clone() for name, value in net.state_dict().items()} for net in nets]
    together = unroll.Together(nets)
    assert together(torch.randn(B, *SHAPE, dtype=torch.float64)).shape == (3, B, CLASSES)
    for net, old in zip(nets, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in net.state_dict().items())


def test_a_batch_for_each_is_seen_by_each() -> None:
    nets = learners(conv_net)
    images = torch.randn(3, B, *SHAPE, generator=stream(0, "own"), dtype=torch.float64)
    expected = torch.stack([net(x) for net, x in zip(nets, images, strict=True)])
    torch.testing.assert_close(unroll.Together(nets)(images), expected)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UserError, match="one architecture"):
        unroll.Together([nn.Linear(2, 3), nn.Linear(2, 4)])

    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() * self.weight > 0 else -x

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

    with pytest.raises(UserError, match="Branches .* inner.batched to false"):
        unroll.Together([Branches(), Branches()])(torch.ones(B, *SHAPE))
