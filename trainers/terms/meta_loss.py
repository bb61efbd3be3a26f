"""The meta-loss as a term: learners take a few steps on the generator's images and are judged on real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.curriculum import Fresh
from gendistill.errors import UserError
from gendistill.nets.learners import default_learner
from gendistill.objects import build
from gendistill.outer import RealLoss
from trainers.batch import Batch
from trainers.terms.generated import carry, generate
from trainers.terms.term import GANHost, Term

Spec = Mapping[str, Any]


class MetaLoss(Term):
    """The objective of a GTN over a window of inner steps, on fresh samples; for fine-tuning a trained generator.

    Such et al. 2020 ("Generative Teaching Networks"), Sec. 3: T steps of SGD with momentum on generated batches, then
    the cross-entropy of the learner on real images, differentiated through all steps. With ``horizon`` above T a
    learner goes on from window to window, so that the generator also meets learners that it has taught for a while;
    gradients stay inside a window (truncated, as in Feng et al. 2024, "Embarrassingly Simple Dataset Distillation").

    Args:
        learners: One learner spec, or several that the positions of a meta-batch take in turn; by default the data
            set's default learner.
        inner_steps: T, the steps of a window; at least 1.
        inner_batch_size: Generated images at each of them, balanced over classes; at least 2.
        meta_batch: Learners, which share the generated images; at least as many as specs.
        horizon: Steps after which a learner is replaced by a new one; None: T, a new one at every update.
        real_per_class: Real images of each class at each look.
        real_every: Real images are looked at after every so many inner steps, and after the last.
        learning_rate: Initial learning rate of every inner step; positive.
        momentum: Initial momentum of every inner step, in (0, 1). A window begins with no velocity.
        learn_learning_rates: Whether each step's learning rate is trained.
        learn_momenta: Whether each step's momentum is trained.
        schedule_lr: Adam's learning rate for learning rates and momenta; positive.
        memory: ``full`` (fastest) or ``recompute`` (flat in T).
        weight: See :class:`~trainers.terms.term.Term`.

    Raises:
        UserError: An option is out of range.
    """

    needs_labels: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("generator",)
    trainer: GANHost

    def __init__(
        self,
        *,
        learners: Spec | Sequence[Spec] | None = None,
        inner_steps: int = 4,
        inner_batch_size: int = 40,
        meta_batch: int = 2,
        horizon: int | None = None,
        real_per_class: int = 8,
        real_every: int = 1,
        learning_rate: float = 0.05,
        momentum: float = 0.9,
        learn_learning_rates: bool = True,
        learn_momenta: bool = False,
        schedule_lr: float = 0.02,
        memory: unroll.Memory = "full",
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        self.specs = None if learners is None else [learners] if isinstance(learners, Mapping) else list(learners)
        for name, value in (("meta_batch", meta_batch), ("real_every", real_every), ("real_per_class", real_per_class)):
            if value < 1:
                raise UserError(f"{name} is {value}; give a whole number from 1")
        if self.specs is not None and not 1 <= len(self.specs) <= meta_batch:
            raise UserError(
                f"learners names {len(self.specs)} specs and meta_batch is {meta_batch}; give at least one spec and "
                "one place in the meta-batch for each"
            )
        if horizon is not None and horizon < inner_steps:
            raise UserError(f"horizon is {horizon}; give at least inner_steps, which is {inner_steps}")
        if memory not in unroll.MEMORY_MODES:
            raise UserError(f"memory is '{memory}'; use one of: {', '.join(unroll.MEMORY_MODES)}")
        if schedule_lr <= 0:
            raise UserError(f"schedule_lr is {schedule_lr}; give a positive number")
        self.meta_batch = meta_batch
        self.horizon = inner_steps if horizon is None else horizon
        self.real_per_class = real_per_class
        self.schedule_lr = schedule_lr
        self.memory = memory
        self.looks = [step for step in range(1, inner_steps + 1) if step % real_every == 0 or step == inner_steps]
        self.window: dict[str, Any] = {
            "steps": inner_steps,
            "batch_size": inner_batch_size,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "learn_learning_rates": learn_learning_rates,
            "learn_momenta": learn_momenta,
        }
        # Made here once so that a wrong option is refused before any run starts.
        Fresh(nz=1, num_classes=2, generator=torch.Generator(), **self.window)

    def attach(self, trainer: GANHost) -> None:
        """Make the inner learning rates, their optimiser and the first learners."""
        super().attach(trainer)
        description = trainer.data.description
        if trainer.run.options.precision != "float32":
            raise UserError(
                f"run.precision is {trainer.run.options.precision}; the term meta_loss differentiates through training "
                "and needs float32"
            )
        self.specs = self.specs or [default_learner(description)]
        self.curriculum = Fresh(
            nz=trainer.generator.nz, num_classes=description.num_classes, generator=self.stream, **self.window
        )
        schedules = self.curriculum.schedules()
        self.optimizer = torch.optim.Adam(schedules, lr=self.schedule_lr) if schedules else None
        self.learners = [self._learner(position) for position in range(self.meta_batch)]
        # Places are renewed at different times, so that learners of all ages look at every batch.
        windows = self.horizon // len(self.curriculum.labels)
        self.ages = [place * windows // self.meta_batch for place in range(self.meta_batch)]

    def learned_rates(self) -> Tensor | None:
        """Return the rates of the inner steps where they are trained."""
        return self.curriculum.learning_rates.detach() if self.window["learn_learning_rates"] else None

    def _learner(self, position: int) -> nn.Module:
        """Return a new learner, initialised from the seed, the step and its position."""
        assert self.specs is not None
        description = self.trainer.data.description
        with self.initialised(f"learner/{self.trainer.step * self.meta_batch + position}"):
            learner = build(
                self.specs[position % len(self.specs)],
                nn.Module,
                num_classes=description.num_classes,
                image_shape=description.image_shape,
            )
        return learner.to(self.trainer.device)

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the mean loss on real images over looks and learners; it draws images of its own.

        Args:
            real: Not used.
            fake: Not used.
        """
        curriculum = self.curriculum
        latents, labels = curriculum.draw(self.stream), curriculum.labels
        images = generate(self.trainer, latents.flatten(0, 1), labels.flatten(), self.seed_of("generator"))
        shown = images.detach().unflatten(0, labels.shape).requires_grad_()
        wanted = [shown, *curriculum.schedules()]
        losses, rows, accuracies = [], [], []
        for position in range(self.meta_batch):
            loss, accuracy = self._taught(position, shown)
            losses.append(loss.detach())
            accuracies.append(accuracy)
            rows.append(torch.autograd.grad(loss, wanted))
        gradients = [torch.stack(row).mean(0) for row in zip(*rows, strict=True)]
        if self.optimizer is not None:
            for schedule, gradient in zip(wanted[1:], gradients[1:], strict=True):
                schedule.grad = gradient
            self.optimizer.step()
        self.trainer.record("meta/accuracy", torch.stack(accuracies).mean())
        self.trainer.record("meta/learning_rate", curriculum.learning_rates.mean())
        return carry(torch.stack(losses).mean(), images, gradients[0].flatten(0, 1))

    def _taught(self, position: int, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Teach one learner for a window; return its loss, differentiable, and its accuracy at the end."""
        curriculum, learner = self.curriculum, self.learners[position]
        steps = len(curriculum.labels)
        if (self.ages[position] + 1) * steps > self.horizon:
            self.ages[position] = 0
            learner = self.learners[position] = self._learner(position)
        looks = [self.draw_real(self.real_per_class) for _ in self.looks]
        outer = RealLoss(
            learner,
            self.looks,
            torch.stack([look.images for look in looks]),
            torch.stack([look.labels for look in looks if look.labels is not None]),
        )
        rates, momenta = curriculum.learning_rates, curriculum.momenta
        seed = self.seed_of(f"draws/{position}")
        result = unroll.unrolled_loss(
            learner, shown, curriculum.labels, rates, momenta, outer, memory=self.memory, seed=seed
        )
        if steps < self.horizon:
            with torch.no_grad():
                for name, parameter in learner.named_parameters():
                    parameter.copy_(result.parameters.get(name, parameter))
        self.ages[position] += 1
        return result.loss / len(looks), outer.final_accuracy
