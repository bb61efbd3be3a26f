"""Unrolled GANs: the generator descends what the discriminator would say after K more steps; Metz et al. 2017."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn

from gendistill.errors import UserError, did_you_mean
from gendistill.exchange import AverageGradients
from gendistill.nets.modes import untracked
from gendistill.unroll import Optimizer, unrolled_loss
from gendistill.unroll.learner import AsFunction, Parameters
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer, GANTrainer

OPTIMIZERS = get_args(Optimizer)


class UnrolledGANTrainer(GANTrainer):
    """Train a generator against a discriminator that makes K steps ahead, section 2.2, Metz et al. 2017.

    The generator's loss is taken at ``theta_K``, where ``theta_0`` is the discriminator as it is and each step descends
    the discriminator's whole loss (penalties and terms with it) on the last real batch and on the generator's batch.
    Its gradient also goes through these steps. The discriminator itself makes its own ``n_dis`` steps, as in any GAN.

    Args:
        unroll_steps: K; 0 is the GAN itself.
        unroll_optimizer: How the discriminator steps ahead: ``adam`` (from rest, with torch's default betas) or ``sgd``
            (the paper's equation).
        unroll_lr: The rate of these steps; None: the discriminator's own at the time.
        n_dis: See :class:`~trainers.gan.GANTrainer`; 1 is published.
        **kwargs: See :class:`~trainers.gan.GANTrainer`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        unroll_steps: int = 5,
        unroll_optimizer: str = "adam",
        unroll_lr: float | None = None,
        n_dis: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_dis=n_dis, **kwargs)
        if isinstance(unroll_steps, bool) or not isinstance(unroll_steps, int) or unroll_steps < 0:
            raise UserError(f"unroll_steps is {unroll_steps!r}; give a whole number from 0")
        if unroll_optimizer not in OPTIMIZERS:
            hint = did_you_mean(str(unroll_optimizer), OPTIMIZERS)
            raise UserError(f"unroll_optimizer is '{unroll_optimizer}'; {hint}choose one of {', '.join(OPTIMIZERS)}")
        if unroll_lr is not None and unroll_lr <= 0:
            raise UserError(f"unroll_lr is {unroll_lr}; give a positive number, or leave it out")
        self.unroll_steps = unroll_steps
        self.unroll_optimizer: Any = unroll_optimizer
        self.unroll_lr = unroll_lr

    def build(self) -> None:
        """Make what a GAN has; the discriminator, which is differentiated twice, is not compiled."""
        super().build()
        if self.unroll_steps:
            self._judge = self.discriminator.__call__

    def generator_loss(self, fake: Batch) -> Tensor:
        """Return what the generator minimises at the discriminator that made K more steps, a scalar.

        Args:
            fake: Generated images, this process's part, with the generator's graph.
        """
        real = self._real
        if not self.unroll_steps or real is None:
            return super().generator_loss(fake)
        steps, records = self.unroll_steps, dict(self._records)
        objective = Objective(
            self.discriminator,
            lambda images: self.discriminator_loss(real, Batch(images, fake.labels)),
            self.run.processes.world,
        )
        ahead = AsFunction(objective)

        def outer(step: int, values: Parameters) -> Tensor | None:
            if step < steps:
                return None
            # What is logged of the discriminator's loss is of its own update.
            self._records.clear()
            self._records.update(records)
            with ahead.at(values):
                return super(UnrolledGANTrainer, self).generator_loss(fake)

        group = self.discriminator_optimizer.param_groups[0]
        rate = group["lr"] if self.unroll_lr is None else self.unroll_lr
        rates = torch.full((steps,), rate, device=self.device)
        own = {id(parameter) for group in self.discriminator_optimizer.param_groups for parameter in group["params"]}
        # In training a batch is normalised by itself: running statistics have no part in it, and stay as they are.
        with untracked(self.discriminator):
            return unrolled_loss(
                objective,
                [fake.images] * steps,
                [fake.images] * steps,
                rates,
                torch.zeros_like(rates),
                outer,
                parameters={name: value.detach() for name, value in objective.named_parameters() if id(value) in own},
                inner_loss=lambda loss, _: loss,
                optimizer=self.unroll_optimizer,
                buffers=True,
                seed=self.seed_of(f"unrolled/{self.step}"),
            ).loss


class Objective(nn.Module):
    """A discriminator's loss as a network, which the bilevel engine trains.

    Args:
        discriminator: Whose loss.
        loss: Returns it, a scalar, for generated images (N, C, H, W); calls the discriminator as it is then.
        world: How many processes share the batch; the gradient of the loss is averaged over them.
    """

    def __init__(self, discriminator: nn.Module, loss: Callable[[Tensor], Tensor], world: int) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.loss = loss
        self.world = world
        self._function = AsFunction(discriminator)

    def forward(self, images: Tensor) -> Tensor:
        """Return the loss of the discriminator's present parameters."""
        if self.world == 1:
            return self.loss(images)
        names, values = zip(*self.discriminator.named_parameters(), strict=True)
        shared = AverageGradients.apply(self.world, *values)
        with self._function.at(dict(zip(names, shared, strict=True))):
            return self.loss(images)


class ConditionalUnrolledGANTrainer(UnrolledGANTrainer, ConditionalGANTrainer):
    """Unroll a GAN with labels; the default networks are CGANPDGenerator and CGANPDDiscriminator."""
