"""The adversarial losses against closed forms, at any logit."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gendistill.errors import UserError
from gendistill.losses.adversarial import (
    LOSS_TYPES,
    check_loss_type,
    discriminator_loss,
    dual_discriminator_loss,
    dual_generator_loss,
    generator_loss,
    log_softplus,
)

REAL = [[-1.5], [0.25], [3.0]]
FAKE = [[-2.0], [0.5], [1.75]]


def log_sigmoid(value: float) -> float:
    return math.log(1 / (1 + math.exp(-value)))


def closed_discriminator(loss_type: str) -> float:
    real, fake = [row[0] for row in REAL], [row[0] for row in FAKE]
    if loss_type == "hinge":
        return sum(max(0, 1 - x) for x in real) / 3 + sum(max(0, 1 + x) for x in fake) / 3
    if loss_type == "wasserstein":
        return sum(fake) / 3 - sum(real) / 3
    if loss_type == "relativistic":
        return -sum(log_sigmoid(x - y) for x, y in zip(real, fake, strict=True)) / 3
    return -sum(log_sigmoid(x) for x in real) / 3 - sum(log_sigmoid(-x) for x in fake) / 3


def closed_generator(loss_type: str) -> float:
    fake = [row[0] for row in FAKE]
    if loss_type in ("hinge", "wasserstein"):
        return -sum(fake) / 3
    if loss_type == "relativistic":
        return -sum(log_sigmoid(y - row[0]) for y, row in zip(fake, REAL, strict=True)) / 3
    return -sum(log_sigmoid(x) for x in fake) / 3


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_values_are_the_closed_forms(loss_type: str) -> None:
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    assert discriminator_loss(loss_type, real, fake).item() == pytest.approx(closed_discriminator(loss_type), rel=1e-12)
    assert generator_loss(loss_type, fake, real).item() == pytest.approx(closed_generator(loss_type), rel=1e-12)


def test_gan_is_binary_cross_entropy() -> None:
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    expected = F.binary_cross_entropy_with_logits(real, torch.ones_like(real)) + F.binary_cross_entropy_with_logits(
        fake, torch.zeros_like(fake)
    )
    torch.testing.assert_close(discriminator_loss("gan", real, fake), expected)
    expected = F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    torch.testing.assert_close(generator_loss("ns", fake), expected)


# (loss type, logit) -> derivative by a real logit, by a fake logit, and of the generator's loss by a fake logit.
GRADIENTS = {
    ("gan", -1e4): (-1.0, 0.0, -1.0),
    ("gan", 1e4): (0.0, 1.0, 0.0),
    ("gan", 0.0): (-0.5, 0.5, -0.5),
    ("ns", -1e4): (-1.0, 0.0, -1.0),
    ("ns", -40.0): (-1.0, math.exp(-40), -1.0),
    ("ns", 1e4): (0.0, 1.0, 0.0),
    ("hinge", -1e4): (-1.0, 0.0, -1.0),
    ("hinge", 1e4): (0.0, 1.0, -1.0),
    ("hinge", 0.0): (-1.0, 1.0, -1.0),
    ("wasserstein", -1e4): (-1.0, 1.0, -1.0),
    ("wasserstein", 1e4): (-1.0, 1.0, -1.0),
    ("relativistic", -1e4): (-1.0, 0.0, -1.0),
    ("relativistic", 1e4): (0.0, 1.0, 0.0),
    ("relativistic", 0.0): (-0.5, 0.5, -0.5),
}


@pytest.mark.parametrize(("loss_type", "logit"), GRADIENTS)
def test_gradients_at_extreme_logits(loss_type: str, logit: float) -> None:
    def derivative(loss: torch.Tensor, at: torch.Tensor) -> float:
        assert torch.isfinite(loss)
        return float(torch.autograd.grad(loss, at)[0])

    at = torch.tensor([[logit]], requires_grad=True)
    other = torch.zeros(1, 1)
    found = (
        derivative(discriminator_loss(loss_type, at, other), at),
        derivative(discriminator_loss(loss_type, other, at), at),
        derivative(generator_loss(loss_type, at, other), at),
    )
    assert found == pytest.approx(GRADIENTS[loss_type, logit], abs=1e-6)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_gradcheck(loss_type: str) -> None:
    real = torch.tensor(REAL, dtype=torch.float64, requires_grad=True)
    fake = torch.tensor(FAKE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: discriminator_loss(loss_type, a, b), (real, fake))
    assert torch.autograd.gradcheck(lambda b, a: generator_loss(loss_type, b, a), (fake, real))


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'hinge'"):
        check_loss_type("hing")
    with pytest.raises(UserError, match="wasserstein"):
        generator_loss("lsgan", torch.zeros(1))


def test_pairs_need_as_many_of_both() -> None:
    with pytest.raises(UserError, match="none and those of generated ones"):
        generator_loss("relativistic", torch.zeros(3, 1))
    with pytest.raises(UserError, match="give as many of both"):
        discriminator_loss("relativistic", torch.zeros(2, 1), torch.zeros(3, 1))


def test_two_discriminators_have_the_closed_form() -> None:
    real, fake = [(-1.5, 0.5), (0.25, -2.0)], [(1.0, 0.0), (-0.5, 2.5)]

    def judged(logit: float) -> float:
        return math.log(1 + math.exp(logit))

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    first = 0.2 * mean([math.log(judged(a)) for a, _ in real]) - mean([judged(a) for a, _ in fake])
    second = 0.3 * mean([math.log(judged(b)) for _, b in fake]) - mean([judged(b) for _, b in real])
    told = [torch.tensor(rows, dtype=torch.float64, requires_grad=True) for rows in (real, fake)]
    assert dual_discriminator_loss(*told, 0.2, 0.3).item() == pytest.approx(-(first + second), rel=1e-12)
    generator = 0.3 * mean([math.log(judged(b)) for _, b in fake]) - mean([judged(a) for a, _ in fake])
    assert dual_generator_loss(told[1], 0.3).item() == pytest.approx(generator, rel=1e-12)
    assert torch.autograd.gradcheck(lambda a, b: dual_discriminator_loss(a, b, 0.2, 0.3), told)
    assert torch.autograd.gradcheck(lambda b: dual_generator_loss(b, 0.3), told[1:])


def test_the_best_two_discriminators_are_those_of_the_paper() -> None:
    # D1 = alpha p / q, D2 = beta q / p (Theorem 1): at equal shares the loss is stationary at alpha and beta.
    logits = torch.tensor([[0.2, 0.3]], dtype=torch.float64).expm1().log().requires_grad_()
    (slope,) = torch.autograd.grad(dual_discriminator_loss(logits, logits, 0.2, 0.3), logits)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)


@pytest.mark.parametrize("logit", [-1e4, -40.0, -15.001, -14.999, 0.0, 40.0, 1e4])
def test_the_logarithm_of_softplus_is_right_anywhere(logit: float) -> None:
    at = torch.tensor(logit, requires_grad=True)
    found = log_softplus(at)
    (slope,) = torch.autograd.grad(found, at)
    exact = logit if logit < -30 else math.log(math.log1p(math.exp(logit)) if logit < 30 else logit)
    assert found.item() == pytest.approx(exact, rel=1e-6)
    chance = 1 / (1 + math.exp(-logit)) if logit > -30 else 0.0
    expected = 1.0 if logit < -30 else chance / (math.log1p(math.exp(logit)) if logit < 30 else logit)
    assert slope.item() == pytest.approx(expected, rel=1e-4)
