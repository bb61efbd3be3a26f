"""The four adversarial losses, on logits, in forms that stay finite and keep their gradient at any logit.

The names are torch-mimicry's. There ``gan`` already gives the generator the non-saturating loss (cross entropy against
the label *real*), so ``gan`` and ``ns`` are the same function here: the difference between the two in torch-mimicry is
only the ``log(sigmoid(x) + 1e-8)`` of its ``ns``, whose gradient vanishes where the generator needs it most.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gendistill.errors import UserError, did_you_mean

LOSS_TYPES = ("gan", "ns", "hinge", "wasserstein")


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

    Args:
        loss_type: One of :data:`LOSS_TYPES`.
        output_real: Logits of real images, any shape; the mean runs over all of them.
        output_fake: Logits of generated images.

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
    return F.softplus(-output_real).mean() + F.softplus(output_fake).mean()


def generator_loss(loss_type: str, output_fake: Tensor) -> Tensor:
    """Return the loss that the generator minimises.

    ``gan``, ``ns``: ``E[-log s(D(G(z)))]``, section 3, Goodfellow et al. 2014 (the non-saturating form).
    ``hinge``, ``wasserstein``: ``-E[D(G(z))]``, Eq. (17), Miyato et al. 2018.

    Args:
        loss_type: One of :data:`LOSS_TYPES`.
        output_fake: Logits of generated images, any shape.

    Returns:
        A scalar.

    Raises:
        UserError: Unknown ``loss_type``.
    """
    check_loss_type(loss_type)
    if loss_type in ("hinge", "wasserstein"):
        return -output_fake.mean()
    return F.softplus(-output_fake).mean()
