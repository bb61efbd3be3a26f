"""A network that learns from the images of the search shall walk as experts walk on real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.experts import Recipe, expert_buffer
from gendistill.nets.learners import default_learner
from gendistill.objects import build
from trainers.batch import Batch
from trainers.latent_objectives.objective import Objective, SearchHost
from trainers.student_plan import PlanOptions, StudentPlan
from trainers.student_training import StudentTraining
from trainers.terms.generated import carry


class TrajectoryMatching(Objective):
    """``|| student - target ||^2 / || start - target ||^2``, Eq. (2), Cazenavette et al. 2022, on latents as GLaD does.

    A student starts where an expert was after t epochs on real images, takes ``student_steps`` steps on the generated
    ones, and is asked to arrive where the expert was ``expert_epochs`` later.

    Args:
        learner: The network of experts and students; None: the data set's default learner.
        experts: How many there are; trained when the run starts and kept for other runs.
        expert: How they are trained; options of :class:`gendistill.experts.Recipe`.
        expert_folder: Where they are kept; None: in ``run.root/experts``.
        student_steps: Steps of a student, at least 1.
        student_lr: Their learning rate; positive.
        student_batch: Generated images in a step; None: all.
        expert_epochs: Epochs of the expert in the same time.
        max_start_epoch: Students start before this epoch.
        augment: How a student's images are augmented: ``dsa``, a strategy, or None.
        memory: Memory mode of the steps; see :mod:`gendistill.unroll`.
        weight: See :class:`~trainers.terms.term.Term`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        learner: Mapping[str, Any] | None = None,
        experts: int = 10,
        expert: dict[str, Any] | None = None,
        expert_folder: str | None = None,
        student_steps: int = 10,
        student_lr: float = 0.01,
        student_batch: int | None = None,
        expert_epochs: int = 2,
        max_start_epoch: int = 5,
        augment: str | None = None,
        memory: unroll.Memory = "full",
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        for name, value in (("experts", experts), ("student_steps", student_steps), ("expert_epochs", expert_epochs)):
            if value < 1:
                raise UserError(f"{name} is {value}; give a whole number from 1")
        if student_lr <= 0:
            raise UserError(f"student_lr is {student_lr}; give a positive number")
        self.learner = learner
        self.experts = experts
        self.recipe = Recipe.of(expert)
        self.expert_folder = expert_folder
        self.student_lr = student_lr
        self.expert_epochs = expert_epochs
        self.training = StudentTraining(student_steps, "exact", memory, window=None)
        self.options = PlanOptions(
            experts=experts, steps=student_steps, batch=student_batch, min_start=0, max_start=max_start_epoch,
            first_max_start=None, widen_steps=0, augment=augment, augment_mode="single", siamese=False,
        )  # fmt: skip

    def attach(self, trainer: SearchHost) -> None:
        """Open the experts, training those that are missing, and make the student."""
        super().attach(trainer)
        description, run = trainer.data.description, trainer.run
        spec = self.learner or default_learner(description)
        with self.initialised("student"):
            sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
            self.student = trainer.place(build(spec, nn.Module, **sizes))
        self.buffer = expert_buffer(
            spec,
            trainer.data,
            self.recipe,
            self.experts,
            self.options.max_start - 1 + self.expert_epochs,
            root=run.options.root,
            folder=self.expert_folder,
            processes=run.processes,
            at_once=None,
            progress=run.options.progress and run.processes.main,
        )
        self.buffer.check_fits(self.student)
        self.plan = StudentPlan(self.options, len(trainer.labels), description, run.options.seed, trainer.device)

    def learning_rates(self) -> Tensor:
        """Return the students' learning rate (1,)."""
        return torch.full((1,), self.student_lr, device=self.trainer.device)

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the distance of one student, a scalar; the real images are not looked at."""
        lesson = self.plan.draw(self.trainer.step)
        start, target = (
            self.buffer.snapshot(lesson.expert, at, self.trainer.device)
            for at in (lesson.start, lesson.start + self.expert_epochs)
        )
        images = fake.images.detach().requires_grad_()
        labels, rate = cast(Tensor, fake.labels), self.learning_rates()[0]
        seed = self.seed_of("draws")
        with torch.enable_grad():
            distance = self.training.backward(self.student, lesson, start, target, images, labels, rate, 1.0, seed)
        assert images.grad is not None
        return carry(distance, fake.images, images.grad)
