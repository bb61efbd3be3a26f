"""The adversarial losses, on logits, in forms that stay finite and keep their gradient at any logit.

The names are torch-mimicry's. There ``gan`` already gives the generator the non-saturating loss (cross entropy against
the label *real*), so ``gan`` and ``ns`` are the same function here: the difference between the two in torch-mimicry is
only the ``log(sigmoid(x) + 1e-8)`` of its ``ns``, whose gradient vanishes where the generator needs it most.

D2GAN has two discriminators and two losses of its own, at the end.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.errors import UserError, did_you_mean

LOSS_TYPES = ("gan", "ns", "hinge", "wasserstein", "relativistic")
RELATIVISTIC = "relativistic"
"""The one whose generator is also told the logits of real images."""
FLAT = -15.0
"""Below it softplus(x) is exp(x) (1 - exp(x) / 2) up to float32's rounding, and its logarithm is taken of that."""


def check_loss_type(loss_type: str) -> str:
    """Return ``loss_type`` if it is one of :data:`LOSS_TYPES`.

    Raises:
        UserError: It is not.
    """
    if loss_type not in LOSS_TYPES:
        hint = did_you_mean(str(loss_type), LOSS_TYPES)
        raise UserError(f"loss_type '{loss_type}' is not known; {hint}use one of {', '.join(LOSS_TYPES)}")
    return loss_type


def discriminator_loss(loss_type: str, output_real: Tensor, output_fake: Tensor) -> Tensor:
    """Return the loss that the discriminator minimises.

    ``gan``, ``ns``: ``E[-log s(D(x))] + E[-log(1 - s(D(G(z))))]``, Eq. (1), Goodfellow et al. 2014.
    ``hinge``: ``E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]``, Eq. (16), Miyato et al. 2018.
    ``wasserstein``: ``E[D(G(z))] - E[D(x)]``, Eq. (2), Arjovsky et al. 2017.
    ``relativistic``: ``E[-log s(D(x) - D(G(z)))]``, of pairs, Eq. (2), Huang et al. 2024 (Jolicoeur-Martineau 2019).

    Args:
        loss_type: One of :data:`LOSS_TYPES`.
        output_real: Logits of real images, any shape; the mean runs over all of them.
        output_fake: Logits of generated images; for ``relativistic`` as many, of which each is paired with the real one
            in its place.

    Returns:
        A scalar.

    Raises:
        UserError: Unknown ``loss_type``.
    """
    check_loss_type(loss_type)
    if loss_type == "hinge":
        return F.relu(1 - output_real).mean() + F.relu(1 + output_fake).mean()
    if loss_type == "wasserstein":
        return output_fake.mean() - output_real.mean()
    if loss_type == RELATIVISTIC:
        return F.softplus(output_fake - _pairs(output_real, output_fake)).mean()
    return F.softplus(-output_real).mean() + F.softplus(output_fake).mean()


def generator_loss(loss_type: str, output_fake: Tensor, output_real: Tensor | None = None) -> Tensor:
    """Return the loss that the generator minimises.

    ``gan``, ``ns``: ``E[-log s(D(G(z)))]``, section 3, Goodfellow et al. 2014 (the non-saturating form).
    ``hinge``, ``wasserstein``: ``-E[D(G(z))]``, Eq. (17), Miyato et al. 2018.
    ``relativistic``: ``E[-log s(D(G(z)) - D(x))]``, of pairs, Eq. (2), Huang et al. 2024.

    Args:
        loss_type: One of :data:`LOSS_TYPES`.
        output_fake: Logits of generated images, any shape.
        output_real: Logits of as many real images; ``relativistic`` alone looks at them.

    Returns:
        A scalar.

    Raises:
        UserError: Unknown ``loss_type``.
    """
    check_loss_type(loss_type)
    if loss_type in ("hinge", "wasserstein"):
        return -output_fake.mean()
    if loss_type == RELATIVISTIC:
        return F.softplus(_pairs(output_real, output_fake) - output_fake).mean()
    return F.softplus(-output_fake).mean()


def _pairs(output_real: Tensor | None, output_fake: Tensor) -> Tensor:
    """Return the logits of real images where there is one for each generated image."""
    if output_real is None or output_real.shape != output_fake.shape:
        given = "none" if output_real is None else f"{tuple(output_real.shape)}"
        raise UserError(
            f"loss_type 'relativistic' pairs each generated image with a real one, but the logits of real images are "
            f"{given} and those of generated ones {tuple(output_fake.shape)}; give as many of both"
        )
    return output_real


def dual_discriminator_loss(output_real: Tensor, output_fake: Tensor, alpha: float, beta: float) -> Tensor:
    """Return what the two discriminators of D2GAN minimise, ``-J``; Eq. (1), Nguyen et al. 2017.

    ``J = alpha E[log D1(x)] - E[D1(G(z))] - E[D2(x)] + beta E[log D2(G(z))]``, with ``D = softplus(logit)``. D1 rewards
    real images, D2 generated ones.

    Args:
        output_real: Logits (N, 2) of real images, of D1 and of D2.
        output_fake: The same of generated images.
        alpha: Weight of D1's logarithm, in (0, 1].
        beta: Weight of D2's logarithm, in (0, 1].

    Returns:
        A scalar.
    """
    first = alpha * log_softplus(output_real[:, 0]).mean() - F.softplus(output_fake[:, 0]).mean()
    second = beta * log_softplus(output_fake[:, 1]).mean() - F.softplus(output_real[:, 1]).mean()
    return -(first + second)


def dual_generator_loss(output_fake: Tensor, beta: float) -> Tensor:
    """Return what the generator of D2GAN minimises, ``-E[D1(G(z))] + beta E[log D2(G(z))]``.

    Args:
        output_fake: Logits (N, 2) of generated images, of D1 and of D2.
        beta: See :func:`dual_discriminator_loss`.

    Returns:
        A scalar; the terms of ``J`` that depend on the generator.

    Source:
        Eq. (1), Nguyen et al. 2017.
    """
    return beta * log_softplus(output_fake[:, 1]).mean() - F.softplus(output_fake[:, 0]).mean()


def log_softplus(x: Tensor) -> Tensor:
    """Return ``log(log(1 + exp(x)))``, finite and with its gradient at any x, of any shape."""
    low = x.clamp(max=FLAT)
    return torch.where(x < FLAT, low + torch.log1p(-low.exp() / 2), F.softplus(x.clamp(min=FLAT)).log())
