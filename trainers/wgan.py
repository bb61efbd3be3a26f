"""WGAN as it was first published: a critic whose weights are clipped, trained by RMSprop; Arjovsky et al. 2017.

The gradient penalty that replaced clipping needs no trainer of its own: ``GANTrainer`` with ``loss_type: wasserstein``
and ``gradient_penalty: 10``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from gendistill.errors import UserError
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer, GANTrainer


class WGANTrainer(GANTrainer):
    """Train a generator against a critic with clipped weights, Algorithm 1, Arjovsky et al. 2017.

    Args:
        weight_clip: After each of the critic's updates its parameters are clipped to [-weight_clip, weight_clip].
        loss_type: See :class:`~trainers.gan.GANTrainer`; ``wasserstein`` is published.
        lr_generator: RMSprop's learning rate for the generator.
        lr_discriminator: RMSprop's learning rate for the critic.
        lr_decay: ``none`` (published) or ``linear``.
        **kwargs: See :class:`~trainers.gan.GANTrainer`; ``betas`` are Adam's and must stay as they are.

    Raises:
        UserError: An option is out of range.
    """

    default_generator: ClassVar[str] = "gendistill.nets.dcgan.DCGANGenerator"
    default_discriminator: ClassVar[str] = "gendistill.nets.dcgan.DCGANDiscriminator"

    def __init__(
        self,
        *,
        weight_clip: float = 0.01,
        loss_type: str = "wasserstein",
        lr_generator: float = 5e-5,
        lr_discriminator: float = 5e-5,
        lr_decay: str = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            loss_type=loss_type,
            lr_generator=lr_generator,
            lr_discriminator=lr_discriminator,
            lr_decay=lr_decay,
            **kwargs,
        )
        if self.betas != (0.0, 0.9):  # the default, which a complete config names
            raise UserError(
                f"betas are {self.betas}, but they are Adam's and this trainer uses RMSprop; leave them out"
            )
        if weight_clip <= 0:
            raise UserError(f"weight_clip is {weight_clip}; give a positive number, such as 0.01")
        self.weight_clip = weight_clip

    def make_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Return RMSprop with torch's defaults, as the authors' code has it."""
        return torch.optim.RMSprop([{"params": list(network.parameters()), "lr": lr, "initial_lr": lr}])

    def discriminator_step(self, real: Batch) -> None:
        """Make one update of the critic and clip its parameters."""
        super().discriminator_step(real)
        with torch.no_grad():
            for parameter in self.discriminator.parameters():
                parameter.clamp_(-self.weight_clip, self.weight_clip)


class ConditionalWGANTrainer(WGANTrainer, ConditionalGANTrainer):
    """Train a WGAN with labels; by default ConditionalDCGANGenerator against ConditionalDCGANDiscriminator."""

    default_generator: ClassVar[str] = "gendistill.nets.dcgan.ConditionalDCGANGenerator"
    default_discriminator: ClassVar[str] = "gendistill.nets.dcgan.ConditionalDCGANDiscriminator"
