"""D2GAN: two discriminators, one that rewards real images and one that rewards generated ones; Nguyen et al. 2017."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.losses.adversarial import dual_discriminator_loss, dual_generator_loss
from gendistill.runs.watch import Watched
from trainers.gan import ConditionalGANTrainer, GANTrainer


class DualDiscriminator(nn.Module):
    """Two discriminators side by side: logits (N, 2), of which ``D = softplus(logit)`` are their judgements.

    Args:
        first: D1, large where an image looks real; images (N, C, H, W), and classes, to logits (N, 1).
        second: D2, large where an image looks generated.
        alpha: Weight of D1's logarithm.
        beta: Weight of D2's logarithm.
    """

    def __init__(self, first: nn.Module, second: nn.Module, alpha: float, beta: float) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.alpha, self.beta = alpha, beta

    def forward(self, *given: Tensor) -> Tensor:
        """Map images (N, C, H, W), and class indices (N,) where there are some, to logits (N, 2)."""
        return torch.cat([self.first(*given), self.second(*given)], 1)

    def compute_gan_loss(self, output_real: Tensor, output_fake: Tensor) -> Tensor:
        """Return the loss of both, a scalar, from logits (N, 2) of real and of generated images."""
        return dual_discriminator_loss(output_real, output_fake, self.alpha, self.beta)


class D2GANTrainer(GANTrainer):
    """Train a generator against two discriminators, Eq. (1), Nguyen et al. 2017.

    Both are built from the one spec ``discriminator`` with weights of their own, and learn with one optimiser.

    Args:
        alpha: Weight of the logarithm of D1 at real images, in (0, 1]; smaller ones steady the training (the paper's
            section 3).
        beta: Weight of the logarithm of D2 at generated images, in (0, 1].
        loss_type: The loss is D2GAN's own: leave it out.
        n_dis: See :class:`~trainers.gan.GANTrainer`; 1 is published.
        **kwargs: See :class:`~trainers.gan.GANTrainer`. Penalties are not part of it.

    Raises:
        UserError: An option is out of range, or is not D2GAN's.
    """

    def __init__(
        self, *, alpha: float = 0.1, beta: float = 0.1, loss_type: str = "hinge", n_dis: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(loss_type=loss_type, n_dis=n_dis, **kwargs)
        for name, weight in (("alpha", alpha), ("beta", beta)):
            if not 0 < weight <= 1:
                raise UserError(f"{name} is {weight}; give a number above 0 and at most 1, such as 0.1")
        if loss_type != "hinge":  # the default, which a complete config names
            raise UserError(f"loss_type is '{loss_type}', but D2GAN has a loss of its own; leave it out")
        given = [name for name in ("gradient_penalty", "r1", "r2") if getattr(self, name)]
        if given:
            raise UserError(
                f"{' and '.join(given)} is of one discriminator, and D2GAN has two; leave it out, or use GANTrainer"
            )
        self.alpha, self.beta = alpha, beta

    def new_discriminator(self, drawn_as: str = "discriminator") -> Any:
        """Return two new discriminators as one network."""
        first = super().new_discriminator(drawn_as)
        return self.place(
            DualDiscriminator(first, super().new_discriminator(f"second_{drawn_as}"), self.alpha, self.beta)
        )

    def adversarial_loss(self, output_fake: Tensor) -> Tensor:
        """Return the generator's adversarial loss, from both discriminators' logits (N, 2) of its images."""
        return dual_generator_loss(output_fake, self.beta)

    def record_judgement(self, output_real: Tensor, output_fake: Tensor) -> None:
        """Log both discriminators' mean judgements, which are positive numbers and no probabilities."""
        for name, logits in (("real", output_real), ("fake", output_fake)):
            first, second = F.softplus(logits).mean(0).unbind()
            self.record(f"first/{name}", first)
            self.record(f"second/{name}", second)

    def watched(self) -> Watched:
        """Return what a GAN watches but the discriminator's loss, which may pass through 0."""
        return replace(super().watched(), collapsed={})


class ConditionalD2GANTrainer(D2GANTrainer, ConditionalGANTrainer):
    """Train a conditional generator against two; the default networks are CGANPDGenerator and CGANPDDiscriminator."""
