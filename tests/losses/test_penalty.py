"""Gradient penalties against closed forms, and their derivatives against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.losses.penalty import gradient_penalty, zero_centred_penalty


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_linear_critic_has_its_own_norm() -> None:
    weight = images(1, 0)[0]
    penalty = gradient_penalty(
        lambda x: (x * weight).sum((1, 2, 3)), images(4, 1), images(4, 2), generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(penalty, (weight.norm() - 1).square())


def test_quadratic_critic_sees_the_mixed_images() -> None:
    real, fake, mix = images(3, 1), images(3, 2), torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    between = mix[:, None, None, None] * real + (1 - mix)[:, None, None, None] * fake
    expected = (between.flatten(1).norm(dim=1) - 2).square().mean()
    found = gradient_penalty(lambda x: 0.5 * x.square().sum((1, 2, 3)), real, fake, mix=mix, target=2.0)
    torch.testing.assert_close(found, expected)


def test_gradcheck_with_respect_to_the_critic() -> None:
    weight = images(1, 0)[0].flatten().requires_grad_(True)
    real, fake, mix = images(3, 1), images(3, 2), torch.rand(3, dtype=torch.float64)

    def penalty(parameters: Tensor) -> Tensor:
        return gradient_penalty(lambda x: torch.tanh(x.flatten(1) @ parameters), real, fake, mix=mix)

    assert torch.autograd.gradcheck(penalty, (weight,))


def test_flat_critic_has_finite_gradients() -> None:
    weight = torch.zeros(18, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(
        lambda x: x.flatten(1) @ weight, images(2, 1), images(2, 2), generator=torch.Generator().manual_seed(0)
    )
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    assert torch.isfinite(gradient).all()


def test_the_generator_decides_and_the_global_one_is_left_alone() -> None:
    before = torch.get_rng_state()
    values = [
        gradient_penalty(
            lambda x: x.square().sum((1, 2, 3)),
            images(3, 1),
            images(3, 2),
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]
    assert torch.equal(before, torch.get_rng_state())


def test_refusals() -> None:
    with pytest.raises(UserError, match="one shape"):
        gradient_penalty(torch.sum, images(2, 0), images(3, 0), mix=torch.rand(2))
    with pytest.raises(UserError, match="'generator'"):
        gradient_penalty(torch.sum, images(2, 0), images(2, 0))


def test_a_zero_centred_penalty_is_the_mean_squared_slope() -> None:
    at = images(3, 1)
    found = zero_centred_penalty(lambda x: 0.5 * x.square().sum((1, 2, 3)), at)
    torch.testing.assert_close(found, at.square().sum((1, 2, 3)).mean())


def test_the_slopes_of_images_that_are_judged_together_count_as_one() -> None:
    at = images(4, 1)
    found = zero_centred_penalty(lambda x: 0.5 * x.reshape(2, -1).square().sum(1, keepdim=True), at)
    torch.testing.assert_close(found, at.reshape(2, -1).square().sum(1).mean())


def test_gradcheck_of_a_zero_centred_penalty() -> None:
    weight = images(1, 0)[0].flatten().requires_grad_(True)

    def penalty(parameters: Tensor) -> Tensor:
        return zero_centred_penalty(lambda x: torch.tanh(x.flatten(1) @ parameters), images(3, 1))

    assert torch.autograd.gradcheck(penalty, (weight,))
    assert zero_centred_penalty(lambda x: x.flatten(1) @ weight.detach() * 0, images(3, 1)) == 0
