"""Compiled steps give the gradients that the graph of all steps gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.nets.compiled import compilable, known
from gendistill.nets.learners import ConvNet
from gendistill.seeds import initialisation
from gendistill.unroll import CompiledStep

STEPS, BATCH, CLASSES = 3, 4, 3


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compile as far as the graph; its kernels are torch's own, which is quick to make."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    yield
    torch._dynamo.reset()


def lesson() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    made = {
        "images": torch.randn(STEPS, BATCH, 1, 8, 8, generator=draw, dtype=torch.float64),
        "labels": torch.randn(STEPS, BATCH, CLASSES, generator=draw, dtype=torch.float64).softmax(2),
        "rates": torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64),
        "momenta": torch.tensor([0.3, 0.9, 0.5], dtype=torch.float64),
    }
    return {name: value.requires_grad_() for name, value in made.items()}


def gradients(
    learner: nn.Module, compiled: CompiledStep | None, hard: bool = False, **options: Any
) -> tuple[Tensor, list[Tensor]]:
    seen = lesson()
    theta = unroll.initial_parameters(learner)
    theta = {name: value.requires_grad_() for name, value in theta.items()}
    real = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def outer(step: int, parameters: dict[str, Tensor]) -> Tensor | None:
        if step < STEPS - 1:
            return None
        return F.cross_entropy(unroll.call(learner, parameters, real), torch.arange(5) % CLASSES)

    told = seen["labels"].argmax(2) if hard else seen["labels"]
    loss = unroll.unrolled_loss(
        learner, seen["images"], told, seen["rates"], seen["momenta"], outer, parameters=theta, compiled=compiled,
        **options,
    ).loss  # fmt: skip
    wanted = [value for name, value in seen.items() if not (hard and name == "labels")]
    return loss.detach(), list(torch.autograd.grad(loss, [*wanted, *theta.values()], materialize_grads=True))


@pytest.fixture
def learner() -> nn.Module:
    with initialisation(0, "test"):
        return ConvNet(CLASSES, (1, 8, 8), width=4, depth=1).double()


@pytest.mark.parametrize("hard", [False, True])
def test_gradients_are_those_of_the_whole_graph_in_every_mode(learner: nn.Module, hard: bool) -> None:
    step = CompiledStep(learner)
    for options in ({}, {"memory": "recompute"}, {"memory": "sqrt"}, {"window": 2}):
        loss, expected = gradients(learner, None, hard, **options)
        found_loss, found = gradients(learner, step, hard, **options)
        torch.testing.assert_close(found_loss, loss, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_only_what_can_be_compiled_is(learner: nn.Module) -> None:
    shape = (1, 8, 8)
    assert CompiledStep.where(learner, False) is None and CompiledStep.where(learner, True) is not None
    assert compilable(learner) and not compilable(ConvNet(CLASSES, shape, width=4, depth=1, normalisation="batch"))
    assert not compilable(nn.Sequential(learner, nn.Dropout(0.5)))
    assert not compilable(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    for parameter in learner.parameters():
        parameter.requires_grad_(False)
        break
    assert CompiledStep.where(learner, True) is None


def test_adam_is_refused(learner: nn.Module) -> None:
    with pytest.raises(UserError, match="those of SGD"):
        gradients(learner, CompiledStep(learner), optimizer="adam")


def test_a_known_gradient_is_given_on_and_scaled() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (3 * known(x.detach().square().sum(), [x], [2 * x.detach()]) + x.sum()).backward()
    assert torch.equal(x.grad, torch.tensor([7.0, 13.0]))
