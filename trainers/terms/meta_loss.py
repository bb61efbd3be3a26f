"""The meta-loss as a term: learners take a few steps on the generator's images and are judged on real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gendistill.curriculum import Fresh
from gendistill.errors import UserError
from gendistill.inner import InnerOptions, InnerTraining, Lesson, Task, Taught
from gendistill.nets.learners import default_learner
from gendistill.objects import build
from gendistill.outer import RealLoss
from gendistill.renamed import reads_old_names
from trainers.batch import Batch
from trainers.checks import check_counts
from trainers.terms.generated import carry, generate
from trainers.terms.term import GANHost, Term

Spec = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class MetaInner(InnerOptions):
    """How learners are trained; see :class:`gendistill.inner.InnerOptions`.

    Args:
        batch_size: Generated images at each step, balanced over classes; at least 2.
    """

    steps: int = 4
    batch_size: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_count("batch_size", 2)
        self.require_exact("the inner steps have momenta, which the shortcut has not")


@reads_old_names({"inner_steps": "inner.steps", "inner_batch_size": "inner.batch_size", "memory": "inner.memory"})
class MetaLoss(Term):
    """The objective of a GTN over a window of inner steps, on fresh samples; for fine-tuning a trained generator.

    Such et al. 2020 ("Generative Teaching Networks"), Sec. 3: T steps of SGD with momentum on generated batches, then
    the cross-entropy of the learner on real images, differentiated through all steps. With ``horizon`` above T a
    learner goes on from window to window, so that the generator also meets learners that it has taught for a while;
    gradients stay inside a window (truncated, as in Feng et al. 2024, "Embarrassingly Simple Dataset Distillation").

    Args:
        learners: One learner spec, or several that the positions of a meta-batch take in turn; by default the data
            set's default learner.
        inner: How learners are trained: steps (T), batch_size, optimizer and what else there is in
            :class:`gendistill.inner.InnerOptions`.
        meta_batch: Learners, which share the generated images; at least as many as specs.
        horizon: Steps after which a learner is replaced by a new one; None: T, a new one at every update.
        real_per_class: Real images of each class at each look.
        real_every: Real images are looked at after every so many inner steps, and after the last.
        learning_rate: Initial learning rate of every inner step; positive.
        momentum: Initial momentum of every inner step, in (0, 1). A window begins with no velocity.
        learn_learning_rates: Whether each step's learning rate is trained.
        learn_momenta: Whether each step's momentum is trained.
        schedule_lr: Adam's learning rate for learning rates and momenta; positive.
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
        inner: Mapping[str, Any] | MetaInner | None = None,
        meta_batch: int = 2,
        horizon: int | None = None,
        real_per_class: int = 8,
        real_every: int = 1,
        learning_rate: float = 0.05,
        momentum: float = 0.9,
        learn_learning_rates: bool = True,
        learn_momenta: bool = False,
        schedule_lr: float = 0.02,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        self.specs = None if learners is None else [learners] if isinstance(learners, Mapping) else list(learners)
        check_counts(meta_batch=meta_batch, real_every=real_every, real_per_class=real_per_class)
        options = MetaInner.of(inner)
        if self.specs is not None and not 1 <= len(self.specs) <= meta_batch:
            raise UserError(
                f"learners names {len(self.specs)} specs and meta_batch is {meta_batch}; give at least one spec and "
                "one place in the meta-batch for each"
            )
        if horizon is not None and horizon < options.steps:
            raise UserError(f"horizon is {horizon}; give at least inner.steps, which is {options.steps}")
        if schedule_lr <= 0:
            raise UserError(f"schedule_lr is {schedule_lr}; give a positive number")
        self.inner = InnerTraining(options)
        self.meta_batch = meta_batch
        self.horizon = options.steps if horizon is None else horizon
        self.real_per_class, self.real_every = real_per_class, real_every
        self.schedule_lr = schedule_lr
        self.window: dict[str, Any] = {
            "steps": options.steps,
            "batch_size": options.batch_size,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "learn_learning_rates": learn_learning_rates,
            "learn_momenta": learn_momenta and options.optimizer == "sgd",
        }
        # Made here once so that a wrong option is refused before any run starts.
        Fresh(nz=1, num_classes=2, generator=torch.Generator(), **self.window)

    def attach(self, trainer: GANHost) -> None:
        """Make the inner learning rates, their optimiser and the first learners."""
        super().attach(trainer)
        self.inner.record(trainer.run.options.cuda_graphs)
        description = trainer.data.description
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
        return learner.to(self.trainer.device, non_blocking=True)

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
        with torch.autocast(images.device.type, enabled=False):  # learners have a precision of their own
            loss, gradients = self._teach(shown)
        if self.optimizer is not None:
            for schedule, gradient in zip(curriculum.schedules(), gradients[1:], strict=True):
                schedule.grad = gradient
            self.optimizer.step()
        self.trainer.record("meta/learning_rate", curriculum.learning_rates.mean())
        return carry(loss, images, gradients[0].flatten(0, 1))

    def _teach(self, shown: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Teach all learners for a window on images (T, B, C, H, W).

        Returns:
            Their mean loss, detached, and its gradients: that of the images, then those of the schedules.
        """
        curriculum, wanted = self.curriculum, [shown, *self.curriculum.schedules()]
        end = self.inner.end(lambda: self.host_stream)
        looks = self.inner.looks(end, self.real_every)
        outers = [self._asked(position, looks) for position in range(self.meta_batch)]
        tasks = [Task(outer.learner, outer, self.seed_of(f"draws/{place}")) for place, outer in enumerate(outers)]
        losses, rows = [], []

        def lesson(task: Task) -> Lesson:
            rates, momenta = curriculum.learning_rates[:end], curriculum.momenta[:end]
            return Lesson(shown[:end], curriculum.labels[:end], rates, momenta)

        for taught in self.inner.train(tasks, lesson, precision=self.trainer.run.options.precision):
            loss = taught.loss / len(looks)
            losses.append(loss.detach())
            rows.append(torch.autograd.grad(loss, wanted))
            self._go_on(taught)
        self.trainer.record("meta/accuracy", torch.stack([outer.final_accuracy for outer in outers]).mean())
        gradients = [torch.stack(row).sum(0) / self.meta_batch for row in zip(*rows, strict=True)]
        return torch.stack(losses).sum() / self.meta_batch, gradients

    def _asked(self, position: int, looks: list[int]) -> RealLoss:
        """Return what a learner is asked in this window, a new one where the one at this place has made its steps."""
        steps = self.inner.options.steps
        if (self.ages[position] + 1) * steps > self.horizon:
            self.ages[position] = 0
            self.learners[position] = self._learner(position)
        self.ages[position] += 1
        drawn = [self.draw_real(self.real_per_class) for _ in looks]
        return self.inner.real_loss(
            self.learners[position],
            looks,
            torch.stack([look.images for look in drawn]),
            torch.stack([look.labels for look in drawn if look.labels is not None]),
        )

    def _go_on(self, taught: Taught) -> None:
        """Let learners begin the next window where this one has left them."""
        if self.inner.options.steps == self.horizon:
            return
        for task, state in zip(taught.tasks, taught.states, strict=True):
            with torch.no_grad():
                for name, value in [*task.learner.named_parameters(), *task.learner.named_buffers()]:
                    value.copy_(state.get(name, value))
