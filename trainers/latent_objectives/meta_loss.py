"""The loss on real images of a network that was trained on the images of the search: a GTN over stored latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.inner import InnerOptions, InnerTraining, Lesson, Task
from gendistill.poison import Poison
from gendistill.renamed import reads_old_names
from trainers.batch import Batch
from trainers.latent_objectives.objective import Objective, SearchHost


@dataclass(frozen=True, kw_only=True)
class SearchInner(InnerOptions):
    """How the networks of a search are trained; see :class:`gendistill.inner.InnerOptions`.

    Args:
        learning_rate: Of all steps; positive. The teacher keeps it.
    """

    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learning_rate > 0:
            raise UserError(f"inner.learning_rate is {self.learning_rate}; give a positive number")


@reads_old_names({"inner_steps": "inner.steps", "inner_lr": "inner.learning_rate", "memory": "inner.memory"})
class MetaLoss(Objective):
    """Cross-entropy on real images after ``inner.steps`` steps of gradient descent on all generated ones.

    Args:
        inner: How the network is trained: steps, learning_rate, optimizer, window and what else there is in
            :class:`gendistill.inner.InnerOptions`.
        search_inner: The block of the search, taken where ``inner`` does not say.
        poison: What the network is to mistake for what; see :meth:`gendistill.poison.Poison.of`. None: nothing.
        **kwargs: See :class:`~trainers.latent_objectives.objective.Objective`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        inner: Mapping[str, Any] | SearchInner | None = None,
        search_inner: InnerOptions | None = None,
        poison: str | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.options = SearchInner.of(inner, **({} if search_inner is None else vars(search_inner)))
        self.inner = InnerTraining(self.options)
        self.poison_spec = poison

    def attach(self, trainer: SearchHost) -> None:
        """Take the trainer and check the poison against its data."""
        super().attach(trainer)
        self.inner.record(trainer.run.options.cuda_graphs)
        self.poison = Poison.of(self.poison_spec, trainer.data.description)

    def learning_rates(self) -> Tensor:
        """Return the rates (T,) of the inner steps."""
        return torch.full((self.options.total,), self.options.learning_rate, device=self.trainer.device)

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the loss, a scalar that is differentiated through all inner steps."""
        learner, precision = self.probe().network, self.trainer.run.options.precision
        end = self.inner.end(lambda: self.host_stream)
        look = self.inner.real_loss(learner, [end], real.images[None], cast(Tensor, real.labels)[None], self.poison)
        shown, told = [fake.images] * end, [cast(Tensor, fake.labels)] * end
        task = Task(learner, look, self.seed_of("draws"))
        (taught,) = self.inner.train(
            [task], lambda _: Lesson(shown, told, self.learning_rates()[:end]), precision=precision
        )
        return taught.loss
