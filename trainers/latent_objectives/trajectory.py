"""A network that learns from the images of the search shall walk as experts walk on real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.experts import Recipe
from gendistill.inner import InnerOptions
from gendistill.nets.learners import learner_for
from gendistill.objects import build
from gendistill.renamed import reads_old_names
from trainers.batch import Batch
from trainers.checks import check_counts
from trainers.latent_objectives.objective import Objective, SearchHost
from trainers.student_plan import PlanOptions, StudentPlan
from trainers.student_training import Followed, StudentInner, StudentTraining, open_experts
from trainers.terms.generated import carry


@dataclass(frozen=True, kw_only=True)
class SearchStudentInner(StudentInner):
    """How students of a search are trained; see :class:`trainers.student_training.StudentInner`.

    Args:
        learning_rate: Of students; positive. The teacher keeps it.
    """

    steps: int = 10
    memory: unroll.Memory = "full"
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learning_rate > 0:
            raise UserError(f"inner.learning_rate is {self.learning_rate}; give a positive number")


@reads_old_names(
    {
        "student_steps": "inner.steps",
        "student_lr": "inner.learning_rate",
        "student_batch": "inner.batch_size",
        "memory": "inner.memory",
    }
)
class TrajectoryMatching(Objective):
    """``|| student - target ||^2 / || start - target ||^2``, Eq. (2), Cazenavette et al. 2022, on latents as GLaD does.

    A student starts where an expert was after t epochs on real images, takes ``inner.steps`` steps on the generated
    ones, and is asked to arrive where the expert was ``expert_epochs`` later.

    Args:
        learner: The network of experts and students; None: the data set's default learner.
        experts: How many there are; trained when the run starts and kept for other runs.
        expert: How they are trained; options of :class:`gendistill.experts.Recipe`.
        expert_folder: Where they are kept; None: in ``run.root/experts``.
        inner: How students are trained: steps, learning_rate, batch_size (generated images in a step), optimizer and
            what else there is in :class:`gendistill.inner.InnerOptions`.
        search_inner: The block of the search; its memory mode is taken where ``inner`` gives none.
        expert_epochs: Epochs of the expert in the same time.
        max_start_epoch: Students start before this epoch.
        augment: How a student's images are augmented: ``dsa``, a strategy, or None.
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
        inner: Mapping[str, Any] | SearchStudentInner | None = None,
        search_inner: InnerOptions | None = None,
        expert_epochs: int = 2,
        max_start_epoch: int = 5,
        augment: str | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        check_counts(experts=experts, expert_epochs=expert_epochs)
        self.learner = learner
        self.experts = experts
        self.recipe = Recipe.of(expert)
        self.expert_folder = expert_folder
        self.expert_epochs = expert_epochs
        own = {} if search_inner is None else {"memory": search_inner.memory}
        chosen = SearchStudentInner.of(inner, **own)
        self.training, self.student_lr = StudentTraining(chosen), chosen.learning_rate
        self.inner = self.training.inner
        self.options = PlanOptions(
            experts=experts, steps=chosen.steps, batch=chosen.batch_size, min_start=0, max_start=max_start_epoch,
            first_max_start=None, widen_steps=0, augment=augment, augment_mode="single", siamese=False,
        )  # fmt: skip

    def attach(self, trainer: SearchHost) -> None:
        """Open the experts, training those that are missing, and make the student."""
        super().attach(trainer)
        self.inner.record(trainer.run.options.cuda_graphs)
        description, run = trainer.data.description, trainer.run
        spec = learner_for(self.learner, description)
        with self.initialised("student"):
            sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
            self.student = trainer.place(build(spec, nn.Module, **sizes))
        epochs = self.options.max_start - 1 + self.expert_epochs
        self.buffer = open_experts(
            run, trainer.data, self.student, spec, self.recipe, self.experts, epochs, self.expert_folder
        )
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
        followed = Followed(lesson, start, target, self.seed_of("draws"))
        with torch.enable_grad():
            distance = self.training.backward(
                self.student,
                [followed],
                images,
                cast(Tensor, fake.labels),
                lambda: self.learning_rates()[0],
                1.0,
                end=self.inner.end(lambda: self.plan.generator),
                precision=self.trainer.run.options.precision,
            )
        assert images.grad is not None
        return carry(distance, fake.images, images.grad)
