"""Recorded steps against the same steps made by the program; a recording is here the work called again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.nets.learners import ConvNet
from gendistill.objects import build
from gendistill.seeds import initialisation, stream
from gendistill.unroll.replay import KINDS, StepGraphs, by_calling

STEPS, B, K = 4, 5, 3
SPEC = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 3, "depth": 1}}


def learner(number: int, **more: Any) -> nn.Module:
    spec = {**SPEC, "init_args": {**SPEC["init_args"], **more}}  # type: ignore[dict-item]
    with initialisation(number, "learner"):
        return build(spec, nn.Module, num_classes=K, image_shape=(1, 8, 8)).double()


class Seen:
    """Batches, labels, rates and momenta that want gradients, and a look at real images after each second step."""

    def __init__(self, soft: bool = True, seed: int = 0) -> None:
        generator = stream(seed, "seen")

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.images = normal(STEPS, B, 1, 8, 8).requires_grad_()
        self.labels = (
            normal(STEPS, B, K).softmax(-1).requires_grad_() if soft else torch.arange(STEPS * B).view(STEPS, B) % K
        )
        self.rates = torch.linspace(0.1, 0.3, STEPS, dtype=torch.float64).requires_grad_()
        self.momenta = torch.linspace(0.2, 0.8, STEPS, dtype=torch.float64).requires_grad_()
        self.real = normal(B, 1, 8, 8)

    def gradients(self, network: nn.Module, memory: unroll.Memory = "recompute", **more: Any) -> list[Tensor]:
        theta = {name: value.requires_grad_() for name, value in unroll.initial_parameters(network).items()}

        def outer(step: int, at: unroll.Parameters) -> Tensor | None:
            return F.cross_entropy(unroll.call(network, at, self.real), torch.arange(B) % K) if step % 2 == 0 else None

        inner = {"inner_loss": more.pop("inner_loss")} if "inner_loss" in more else {}
        result = unroll.unrolled_loss(
            network, self.images, self.labels, self.rates, self.momenta, outer, parameters=theta, memory=memory, seed=1,
            **inner, **more,
        )  # fmt: skip
        wanted = [v for v in (self.images, self.labels, self.rates, self.momenta, *theta.values()) if v.requires_grad]
        found = torch.autograd.grad(result.loss, wanted, allow_unused=True, materialize_grads=True)
        return [result.loss.detach(), *found, *result.parameters.values()]


def assert_same(ours: list[Tensor], others: list[Tensor]) -> None:
    for one, other in zip(ours, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("window", [None, 2])
def test_the_gradients_are_those_of_a_recomputed_training(soft: bool, window: int | None) -> None:
    graphs, seen = StepGraphs(by_calling), Seen(soft)
    recorded = seen.gradients(learner(0), graphs=graphs, window=window)
    assert_same(recorded, seen.gradients(learner(0), window=window))
    assert_same(recorded, seen.gradients(learner(0), memory="full", window=window))


def test_one_recording_serves_every_learner_of_a_kind() -> None:
    graphs = StepGraphs(by_calling)
    for number in range(3):
        seen = Seen(seed=number)
        assert_same(seen.gradients(learner(number), graphs=graphs), seen.gradients(learner(number)))
        assert len(graphs) == 2  # the first step, which has no velocity, and the others
    seen.gradients(learner(0, width=4), graphs=graphs)
    assert len(graphs) == 4


def test_few_kinds_are_kept() -> None:
    graphs = StepGraphs(by_calling)
    for width in range(1, KINDS):
        Seen().gradients(learner(0, width=width), graphs=graphs)
        assert len(graphs) <= KINDS
    assert_same(Seen().gradients(learner(1, width=1), graphs=graphs), Seen().gradients(learner(1, width=1)))


def test_learners_that_are_trained_together() -> None:
    graphs, seen = StepGraphs(by_calling), Seen()
    inner = unroll.summed(F.cross_entropy)
    assert inner is unroll.summed(F.cross_entropy)

    def gradients(**more: Any) -> list[Tensor]:
        together = unroll.Together([learner(0), learner(1)])

        def outer(step: int, at: unroll.Parameters) -> Tensor | None:
            return unroll.call(together, at, seen.real).square().mean() if step == STEPS else None

        loss = unroll.unrolled_loss(
            together, seen.images, seen.labels, seen.rates, seen.momenta, outer, inner_loss=inner, memory="recompute",
            **more,
        ).loss  # fmt: skip
        return list(torch.autograd.grad(loss, [seen.images, seen.labels, seen.rates, seen.momenta]))

    assert_same(gradients(graphs=graphs), gradients())
    assert_same(gradients(graphs=graphs), gradients())
    assert len(graphs) == 2


class Drops(ConvNet):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5)


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (lambda: Drops(num_classes=K, image_shape=(1, 8, 8), width=3, depth=1).double(), {}, "draws random numbers"),
        (lambda: learner(0), {"optimizer": "adam"}, "those of SGD"),
        (lambda: learner(0, normalisation="batch"), {"buffers": True}, "no running statistics|without a gradient"),
    ],
)
def test_what_cannot_be_recorded_is_refused(network: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Seen().gradients(network(), graphs=StepGraphs(by_calling), **options)
