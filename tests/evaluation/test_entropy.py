from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gendistill import sphere
from gendistill.evaluation.entropy import entropy, guided, hardest


def linear(seed: int, size: int = 6, classes: int = 4) -> Tensor:
    return torch.randn(classes, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(count: int, size: int = 6) -> Tensor:
    return sphere.uniform(count, size, torch.Generator().manual_seed(3)).double()


def test_entropy_is_that_of_known_distributions() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -1e4], [1e4, 0.0, 0.0], [math.log(2), 0.0, -1e4]])
    third = math.log(3) - 2 / 3 * math.log(2)
    assert entropy(logits).tolist() == pytest.approx([math.log(3), math.log(2), 0.0, third], abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_its_gradient_is_the_closed_form(seed: int) -> None:
    logits = (4 * linear(seed)).requires_grad_()
    (found,) = torch.autograd.grad(entropy(logits).sum(), logits)
    p = logits.softmax(1)
    assert torch.allclose(found, -p * (p.log() + entropy(logits)[:, None]), atol=1e-12)


def test_one_step_is_the_tangent_gradient_of_a_linear_learner() -> None:
    weight, latents, omega = linear(1), drawn(5), 0.3
    found = guided(lambda z, y: z @ weight.T, latents, torch.zeros(5, dtype=torch.int64), omega, 1)
    p = (latents @ weight.T).softmax(1)
    slope = (-p * (p.log() + entropy(latents @ weight.T)[:, None])) @ weight
    for place, z in enumerate(latents):  # the obvious way, one latent at a time
        flat = slope[place] - z * (slope[place] @ z) / (z @ z)
        moved = z + omega * math.sqrt(6) * flat / flat.norm()
        assert torch.allclose(found[place], moved * math.sqrt(6) / moved.norm(), atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.0, 1.0), st.integers(1, 6))
def test_latents_stay_on_the_sphere(omega: float, ascents: int) -> None:
    weight, latents = linear(2), drawn(7)
    found = guided(lambda z, y: z @ weight.T, latents, torch.zeros(7, dtype=torch.int64), omega, ascents)
    assert torch.allclose(found.norm(dim=1), torch.full((7,), math.sqrt(6)).double())
    if omega == 0:
        assert found is latents


def test_small_steps_raise_entropy_and_a_flat_learner_moves_nothing() -> None:
    weight, latents, classes = linear(4), drawn(50), torch.zeros(50, dtype=torch.int64)
    before = entropy(latents @ weight.T)
    after = entropy(guided(lambda z, y: z @ weight.T, latents, classes, 0.02, 3) @ weight.T)
    assert (after > before).all()
    assert torch.equal(guided(lambda z, y: z @ (0 * weight.T), latents, classes, 0.1, 3), latents)


def test_the_hardest_of_each_ones_candidates_is_taken() -> None:
    weight, every = linear(5), drawn(12).view(3, 4, 6)
    found = hardest(lambda z, y: z @ weight.T, every, torch.arange(4))
    for place in range(4):
        scores = [float(entropy(every[one, place] @ weight.T)) for one in range(3)]
        assert torch.equal(found[place], every[scores.index(max(scores)), place])
