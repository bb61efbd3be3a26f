"""Learners that draw random numbers: the same ones in every memory mode, from a seed, and from nowhere else."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.outer import LossesTogether, RealLoss
from gendistill.seeds import initialisation, stream
from gendistill.unroll.direct import direct_loss

T, B, K = 4, 6, 3
SHAPE = (2, 5, 5)


class Learner(nn.Module):
    """Small and smooth, with something random in the middle."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.conv, self.middle, self.head = nn.Conv2d(2, 4, 3), middle, nn.Linear(36, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.softplus(self.middle(self.conv(x))).flatten(1))


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, 0.5, self.training)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x) * torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype)


class OwnGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rand(x.shape, generator=self.generator, dtype=x.dtype)


class StochasticDepth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin() if random.random() < 0.5 else x * float(np.random.rand())


RANDOM: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Dropout(0.5),
    "dropout of maps": lambda: nn.Dropout2d(0.5),
    "alpha dropout": lambda: nn.AlphaDropout(0.4),
    "feature alpha dropout": lambda: nn.FeatureAlphaDropout(0.4),
    "leaky": lambda: nn.RReLU(),
    "functional": Functional,
    "noise": Noise,
    "own generator": OwnGenerator,
    "stochastic depth": StochasticDepth,
}


def learner(kind: str = "dropout", name: str = "learner") -> nn.Module:
    with initialisation(0, name):
        return Learner(RANDOM[kind]()).double()


def lesson() -> list[Tensor]:
    draw: dict[str, Any] = {"generator": stream(0, "lesson"), "dtype": torch.float64}
    images = torch.randn(T, B, *SHAPE, **draw).requires_grad_()
    labels = torch.randn(T, B, K, **draw).softmax(-1).requires_grad_()
    rates = (0.1 + 0.1 * torch.rand(T, **draw)).requires_grad_()
    momenta = (0.3 + 0.5 * torch.rand(T, **draw)).requires_grad_()
    return [images, labels, rates, momenta]


def look(network: nn.Module, evaluation: bool = False) -> RealLoss:
    images = torch.randn(2, 7, *SHAPE, generator=stream(1, "real"), dtype=torch.float64)
    return RealLoss(network, [2, T], images, torch.arange(14).view(2, 7) % K, evaluation)


def gradients(network: nn.Module, memory: Any, seed: int = 3, **options: Any) -> list[Tensor]:
    values, theta = lesson(), unroll.initial_parameters(network)
    theta = {name: value.requires_grad_() for name, value in theta.items()}
    found = unroll.unrolled_loss(network, *values, look(network), parameters=theta, memory=memory, seed=seed, **options)
    pulled = torch.autograd.grad(found.loss, [*values, *theta.values()], materialize_grads=True)
    return [found.loss.detach(), *found.parameters.values(), *pulled]


def everywhere() -> list[Any]:
    numbers = np.random.get_state()
    return [torch.random.get_rng_state().tolist(), random.getstate(), numbers[1].tolist(), numbers[2]]


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "window": 3}])
@pytest.mark.parametrize("kind", RANDOM)
def test_all_modes_agree_and_no_generator_moves(kind: str, options: dict[str, Any]) -> None:
    network, before = learner(kind), everywhere()
    expected = gradients(network, "full", **options)
    assert all(torch.equal(a, b) for a, b in zip(expected, gradients(network, "full", **options), strict=True))
    for memory in ("recompute", "sqrt"):
        for value, wanted in zip(gradients(network, memory, **options), expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-14)
    assert everywhere() == before
    assert not torch.equal(gradients(network, "full", seed=4, **options)[0], expected[0])


def test_the_numbers_are_those_of_a_loop_that_seeds_each_step() -> None:
    """The slow obvious version, which shows that every step and every look draws anew."""
    network, values = learner(), lesson()
    theta, velocity, asked = unroll.initial_parameters(network), {}, look(network)
    theta = {name: value.requires_grad_() for name, value in theta.items()}
    total = torch.zeros((), dtype=torch.float64)
    masks = []
    network.middle.register_forward_hook(lambda module, inputs, output: masks.append(output == 0))
    for t in range(T):
        with initialisation(3, f"step/{t}"):
            logits = torch.func.functional_call(network, theta, (values[0][t],))
        g = torch.autograd.grad(F.cross_entropy(logits, values[1][t]), list(theta.values()), create_graph=True)
        velocity = {name: values[3][t] * velocity.get(name, 0) + one for name, one in zip(theta, g, strict=True)}
        theta = {name: value - values[2][t] * velocity[name] for name, value in theta.items()}
        with initialisation(3, f"look/{t + 1}"):
            loss = asked(t + 1, theta)
        total = total + (0 if loss is None else loss)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks) == T + 2
    found = gradients(network, "recompute")
    torch.testing.assert_close(found[0], total.detach(), rtol=1e-12, atol=0)
    for value, wanted in zip(found[len(theta) + 1 :], torch.autograd.grad(total, values), strict=False):
        torch.testing.assert_close(value, wanted, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("memory", unroll.MEMORY_MODES)
def test_the_gradient_is_that_of_finite_differences(memory: Any) -> None:
    network = learner("noise")

    def loss(*values: Tensor) -> Tensor:
        return unroll.unrolled_loss(network, *values, look(network), memory=memory, seed=1).loss

    values = lesson()
    ways = [torch.randn(v.shape, generator=stream(2, "way"), dtype=torch.float64) for v in values]
    slope = sum((g * way).sum() for g, way in zip(torch.autograd.grad(loss(*values), values), ways, strict=True))
    far = [loss(*(v + h * way for v, way in zip(values, ways, strict=True))) for h in (1e-6, -1e-6)]
    torch.testing.assert_close((far[0] - far[1]) / 2e-6, slope, rtol=1e-7, atol=0)


@pytest.mark.parametrize("memory", unroll.MEMORY_MODES)
@pytest.mark.parametrize("kind", RANDOM)
def test_a_learner_that_draws_needs_a_seed(kind: str, memory: Any) -> None:
    network, before = learner(kind), everywhere()
    with pytest.raises(UserError, match="Learner draws random numbers .* give unrolled_loss a seed"):
        unroll.unrolled_loss(network, *lesson(), look(network), memory=memory)
    assert everywhere() == before
    unroll.unrolled_loss(network.eval(), *lesson(), look(network), memory=memory) if kind == "dropout" else None


class Counting(nn.Module):
    """Not random, and yet another function at every call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + self.calls)


@pytest.mark.parametrize("memory", ["recompute", "sqrt", "shortcut"])
def test_a_learner_that_is_another_the_second_time_is_refused(memory: Any) -> None:
    network = Learner(Counting()).double()
    images, labels, rates, momenta = lesson()
    if memory == "shortcut":
        loss = direct_loss(
            network, images, labels, rates, lambda t, theta: look(network)(T, theta) if t == T else None,
            parameters=unroll.initial_parameters(network),
        ).loss  # fmt: skip
    else:
        loss = unroll.unrolled_loss(network, images, labels, rates, momenta, look(network), memory=memory).loss
    with pytest.raises(UserError, match="does not give the same twice"):
        loss.backward()
    unroll.unrolled_loss(network, *lesson(), look(network)).loss.backward()


@pytest.mark.parametrize("kind", ["dropout", "noise", "own generator", "stochastic depth"])
def test_the_shortcut_draws_the_same_on_its_way_back(kind: str) -> None:
    """With one step it is exact, and so must be that of the engine; with more its value is."""
    network, before = learner(kind), everywhere()
    for steps in (1, T):
        found = []
        for shortcut in (True, False):
            images, labels, rates, _ = lesson()
            seen = [value.detach()[:steps].requires_grad_() for value in (images, labels, rates)]
            still = torch.zeros(steps, dtype=torch.float64)
            real = torch.randn(1, 7, *SHAPE, generator=stream(1, "real"), dtype=torch.float64)
            asked = RealLoss(network, [steps], real, torch.arange(7)[None] % K)
            if shortcut:
                start = unroll.initial_parameters(network)
                loss = direct_loss(network, *seen, asked, parameters=start, seed=9).loss
            else:
                loss = unroll.unrolled_loss(network, *seen, still, asked, seed=9).loss
            found.append([loss.detach(), *(torch.autograd.grad(loss, seen) if steps == 1 else [])])
        for value, wanted in zip(*found, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-11, atol=1e-14)
    assert everywhere() == before
    with pytest.raises(UserError, match="draws random numbers"):
        direct_loss(network, *seen, asked, parameters=unroll.initial_parameters(network))


@pytest.mark.parametrize("kind", RANDOM)
def test_learners_trained_together_draw_each_their_own_or_are_refused(kind: str) -> None:
    nets = [learner(kind, "same") for _ in range(3)]
    together, results, before = unroll.Together(nets), [], everywhere()
    for memory in unroll.MEMORY_MODES:
        values = lesson()
        asked = LossesTogether(together, [look(net) for net in nets])
        try:
            found = unroll.unrolled_loss(
                together, *values, asked, inner_loss=unroll.summed(F.cross_entropy), memory=memory, seed=5
            )
        except UserError as error:
            assert "cannot be trained together" in str(error) and "inner.batched" in str(error)
            assert kind in ("leaky",), kind
            return
        results.append([found.loss.detach(), *torch.autograd.grad(found.loss, values)])
    for other in results[1:]:
        for value, wanted in zip(other, results[0], strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-14)
    assert everywhere() == before
    if kind != "stochastic depth":  # Python's numbers are drawn once for all of them
        weight = found.parameters["head/weight"]
        assert not torch.equal(weight[0], weight[1]) and not torch.equal(weight[1], weight[2])
