"""The adversarial losses against closed forms, at any logit."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gendistill.errors import UserError
from gendistill.losses.adversarial import LOSS_TYPES, check_loss_type, discriminator_loss, generator_loss

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
    return -sum(log_sigmoid(x) for x in real) / 3 - sum(log_sigmoid(-x) for x in fake) / 3


def closed_generator(loss_type: str) -> float:
    fake = [row[0] for row in FAKE]
    if loss_type in ("hinge", "wasserstein"):
        return -sum(fake) / 3
    return -sum(log_sigmoid(x) for x in fake) / 3


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_values_are_the_closed_forms(loss_type: str) -> None:
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    assert discriminator_loss(loss_type, real, fake).item() == pytest.approx(closed_discriminator(loss_type), rel=1e-12)
    assert generator_loss(loss_type, fake).item() == pytest.approx(closed_generator(loss_type), rel=1e-12)


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
        derivative(generator_loss(loss_type, at), at),
    )
    assert found == pytest.approx(GRADIENTS[loss_type, logit], abs=1e-6)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_gradcheck(loss_type: str) -> None:
    real = torch.tensor(REAL, dtype=torch.float64, requires_grad=True)
    fake = torch.tensor(FAKE, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: discriminator_loss(loss_type, a, b), (real, fake))
    assert torch.autograd.gradcheck(lambda b: generator_loss(loss_type, b), (fake,))


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'hinge'"):
        check_loss_type("hing")
    with pytest.raises(UserError, match="wasserstein"):
        generator_loss("lsgan", torch.zeros(1))
