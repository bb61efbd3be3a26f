"""The loss on real images of a network that was trained on the images of the search: a GTN over stored latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from gendistill import unroll
from gendistill.errors import UserError, did_you_mean
from gendistill.outer import RealLoss
from gendistill.poison import Poison, PoisonedLoss
from trainers.batch import Batch
from trainers.latent_objectives.objective import Objective, SearchHost


class MetaLoss(Objective):
    """Cross-entropy on real images after ``inner_steps`` steps of gradient descent on all generated ones.

    Args:
        inner_steps: Steps of plain gradient descent; at least 1.
        inner_lr: Their learning rate; positive. The teacher keeps it.
        memory: Memory mode of these steps; see :mod:`gendistill.unroll`.
        poison: What the network is to mistake for what; see :meth:`gendistill.poison.Poison.of`. None: nothing.
        **kwargs: See :class:`~trainers.latent_objectives.objective.Objective`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        inner_steps: int = 10,
        inner_lr: float = 0.05,
        memory: unroll.Memory = "full",
        poison: str | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if inner_lr <= 0 or inner_steps < 1:
            raise UserError(f"inner_lr must be positive and inner_steps at least 1, got {inner_lr} and {inner_steps}")
        if memory not in unroll.MEMORY_MODES:
            hint = did_you_mean(str(memory), unroll.MEMORY_MODES)
            raise UserError(f"the latent memory is '{memory}'; {hint}choose one of {', '.join(unroll.MEMORY_MODES)}")
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.memory = memory
        self.poison_spec = poison

    def attach(self, trainer: SearchHost) -> None:
        """Take the trainer and check the poison against its data."""
        super().attach(trainer)
        self.poison = Poison.of(self.poison_spec, trainer.data.description)

    def learning_rates(self) -> Tensor:
        """Return the rates (T,) of the inner steps."""
        return torch.full((self.inner_steps,), self.inner_lr, device=self.trainer.device)

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the loss, a scalar that is differentiated through all inner steps."""
        learner, steps = self.probe().network, [self.inner_steps]
        images, labels = real.images[None], cast(Tensor, real.labels)[None]
        look = RealLoss(learner, steps, images, labels)
        if self.poison is not None:
            look = PoisonedLoss(learner, steps, images, labels, self.poison)
        rates = self.learning_rates()
        shown, told = [fake.images] * self.inner_steps, [cast(Tensor, fake.labels)] * self.inner_steps
        momenta, seed = torch.zeros_like(rates), self.seed_of("draws")
        return unroll.unrolled_loss(learner, shown, told, rates, momenta, look, memory=self.memory, seed=seed).loss
