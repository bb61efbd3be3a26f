"""Trajectory matching: a few images that lead a network where real images lead it.

Cazenavette, Wang, Torralba, Efros, Zhu 2022, "Dataset Distillation by Matching Training Trajectories" (MTT), Algorithm
1. One step: a student starts where an expert was after t epochs on real data, takes N steps on distilled images, and
is asked to arrive where the expert was M epochs later. The distance is differentiated exactly through all N steps and
moves the images, the learning rate and, if wanted, soft labels. docs/methods/trajectory-matching.md tells the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.decodes.choice import Choice, decode_of
from gendistill.errors import UserError
from gendistill.experts import Recipe
from gendistill.grids import Grid, grid_of_classes
from gendistill.nets.learners import learner_for
from gendistill.nets.modes import answering
from gendistill.objects import build
from gendistill.renamed import reads_old_names
from gendistill.runs.context import RunContext
from gendistill.runs.watch import Watched
from gendistill.teacher import Teacher
from gendistill.teacher.decoded import teacher_of
from trainers.batch import Made
from trainers.checks import check_counts, check_learned_rate, check_words
from trainers.class_sizes import check_stored, lower_images, lowered_batch
from trainers.decoding import Shown, decoded, pixels_of
from trainers.first_images import FirstImages, first_images
from trainers.image_optimisers import ImageOptimisers, Kind
from trainers.labellers import LabellerPlan
from trainers.stored_start import Stored, check_start, is_stored, log_probabilities, stored_images
from trainers.student_plan import PlanOptions, StudentLesson, StudentPlan
from trainers.student_training import Followed, StudentInner, StudentTraining, open_experts
from trainers.terms.over_groups import rows_of
from trainers.trainer import Trainer

Labels = Literal["hard", "expert", "learned"]
STARTS: tuple[FirstImages, ...] = get_args(FirstImages)


@reads_old_names(
    {
        "student_steps": "inner.steps",
        "student_batch": "inner.batch_size",
        "gradient": "inner.gradient",
        "memory": "inner.memory",
        "window": "inner.window",
    }
)
class TrajectoryMatchingTrainer(Trainer):
    """Distil a data set into images on which students walk as experts walk on real ones.

    Args:
        images_per_class: Distilled images of each class, as they are stored; at least 1.
        decode: What stands between stored images and those that students see: None: nothing; ``{factor: 2}``: a
            formation, each stored image showing 2 x 2; or any other of :mod:`gendistill.decodes`.
        labeller: A network that labels what learners of the images will be shown, after augmentation:
            :class:`trainers.labellers.LabellerPlan`. None: the images' own labels.
        images: What they start from: ``real`` training images, ``correct`` (real ones that an expert answers rightly as
            far as there are enough, as DATM has it) or ``noise`` (standard normal).
        labels: ``hard``: class indices. ``expert``: an expert's probabilities for the first images, which stay (TESLA).
            ``learned``: those, trained as logits (DATM); stored images bring the labels that they have.
        learner: The network of experts and students, as ``class_path`` and ``init_args``; by default the data set's
            default learner.
        experts: How many there are.
        expert: How they are trained; options of :class:`gendistill.experts.Recipe`.
        expert_folder: Where they are kept; None: in ``run.root/experts``, shared by all runs with the same experts.
        experts_at_once: Experts trained side by side; None: as many as cores, ten on a GPU.
        inner: How students are trained: steps, images at each of them, optimizer, window, exact gradient or shortcut,
            and what else there is in :class:`gendistill.inner.InnerOptions`.
        expert_epochs: M, epochs of the expert in the same time.
        min_start_epoch: Smallest epoch at which students start.
        max_start_epoch: They start before this one. Experts are trained ``max_start_epoch - 1 + expert_epochs`` epochs.
        first_max_start_epoch: The bound at the first step, which then grows to ``max_start_epoch`` (DATM's difficulty
            alignment); None: no growth.
        widen_steps: Steps in which it grows.
        trajectories: Students in one step, over all processes.
        augment: How a student's images are augmented anew at every step: ``dsa`` (without ``flip`` where mirrored
            images are no images of the data set), names joined by ``_`` (:func:`gendistill.data.augment.parse`), or
            None: not at all.
        augment_mode: ``single`` (one name of the strategy a student's step), ``each`` (one an image) or ``all``.
        siamese: Whether the images of a step are augmented all alike.
        learning_rate: Of students at the start; positive. It is trained as exp(raw), which keeps it positive.
        learn_learning_rate: Whether it is trained.
        optimizer: ``sgd`` (with momentum, the paper's) or ``adam``, for the images.
        lr_images: Its learning rate.
        lr_rate: SGD's learning rate of the logarithm of the students' rate.
        lr_labels: SGD's learning rate of learned labels, whose momentum is 0.9.
        momentum: Of SGD for images and rate, in [0, 1).
        ema_decay: The teacher is an average of images, labels and rate with this decay, in [0, 1); 0: the last ones.
        terms: See :class:`~trainers.trainer.Trainer`; a group of images is one of each class.

    Raises:
        UserError: An option is out of range.
    """

    compiles: ClassVar[bool] = True
    takes_terms = True

    def __init__(
        self,
        *,
        images_per_class: int = 10,
        decode: Choice = None,
        labeller: dict[str, Any] | None = None,
        images: str = "real",
        labels: Labels = "hard",
        learner: dict[str, Any] | None = None,
        experts: int = 100,
        expert: dict[str, Any] | None = None,
        expert_folder: str | None = None,
        experts_at_once: int | None = None,
        inner: StudentInner = StudentInner(),  # noqa: B008
        expert_epochs: int = 2,
        min_start_epoch: int = 0,
        max_start_epoch: int = 20,
        first_max_start_epoch: int | None = None,
        widen_steps: int = 0,
        trajectories: int = 1,
        augment: str | None = None,
        augment_mode: str = "single",
        siamese: bool = False,
        learning_rate: float = 0.01,
        learn_learning_rate: bool = True,
        optimizer: Kind = "sgd",
        lr_images: float = 100.0,
        lr_rate: float = 0.05,
        lr_labels: float = 2.0,
        momentum: float = 0.5,
        ema_decay: float = 0.0,
        terms: Sequence[str | Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(terms=terms)
        check_counts(
            images_per_class=images_per_class,
            experts=experts,
            expert_epochs=expert_epochs,
            trajectories=trajectories,
            experts_at_once=1 if experts_at_once is None else experts_at_once,
        )
        check_start("images", images, STARTS)
        check_words(labels=(labels, get_args(Labels)))
        check_learned_rate(learning_rate)
        if not 0 <= ema_decay < 1:
            raise UserError(f"ema_decay must lie in [0, 1); got {ema_decay}")
        self.images_per_class, self.start, self.label_kind = images_per_class, images, labels
        self.decode, self.labeller = decode_of(decode), LabellerPlan.of(labeller)
        self.learner_spec = learner
        self.experts, self.expert_folder, self.experts_at_once = experts, expert_folder, experts_at_once
        self.recipe = Recipe.of(expert)
        self.expert_epochs, self.trajectories = expert_epochs, trajectories
        self.training = StudentTraining(StudentInner.of(inner))
        self.optimisers = ImageOptimisers(optimizer, lr_images, lr_rate, lr_labels, momentum)
        self.plan_options = PlanOptions(
            experts=experts,
            steps=self.training.options.steps,
            batch=self.training.options.batch_size,
            min_start=min_start_epoch,
            max_start=max_start_epoch,
            first_max_start=first_max_start_epoch,
            widen_steps=widen_steps,
            augment=augment,
            augment_mode=augment_mode,
            siamese=siamese,
        )
        self.learning_rate, self.learn_learning_rate = learning_rate, learn_learning_rate
        self.ema_decay = ema_decay

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and build; only experts see real images, so ``batch_size`` is not used."""
        self.batch_size = run.processes.world
        super().attach(run, data)

    def build(self) -> None:
        """Open the experts, training those that are missing; make images, labels, rate and their optimisers."""
        self._check_run()
        self.training.inner.record(self.run.options.cuda_graphs)
        self.training.inner.compile = self.run.options.compile
        description, seed = self.data.description, self.run.options.seed
        self.learner_spec = learner_for(self.learner_spec, description)
        with self.initialised("student"):
            sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
            self.student = self.place(build(self.learner_spec, nn.Module, **sizes))
        self.buffer = open_experts(
            self.run,
            self.data,
            self.student,
            self.learner_spec,
            self.recipe,
            self.experts,
            self.plan_options.max_start - 1 + self.expert_epochs,
            self.expert_folder,
            self.experts_at_once,
        )
        check_stored(description, self.images_per_class)
        if self.start in ("real", "correct"):
            known = ClassSampler(self.data.train.labels, description.num_classes, description.class_names)
            lower_images(self, known, self.decode.cells)
        classes = torch.arange(description.num_classes, device=self.device).repeat(self.images_per_class)
        self.decode.attach(self.data, self.device)
        count = len(classes) * self.decode.cells
        most = lowered_batch(self, self.plan_options.batch, count, "distilled images")
        self.plan_options = replace(self.plan_options, batch=most)
        self.plan = StudentPlan(self.plan_options, count, description, seed, self.device)
        guide = self._parameters(self.plan.one_of(self.experts), self.buffer.epochs)
        answer = partial(self._answer, guide)
        first, stored_labels = self._first(answer)
        self.images = nn.Parameter(first)
        self.labels = classes
        if self.label_kind != "hard":
            with torch.no_grad():
                if stored_labels is None:  # of several images in one the mean
                    logits = answer(decoded(self.decode, self.images, classes)).unflatten(0, (len(classes), -1)).mean(1)
                else:
                    logits = log_probabilities(stored_labels, self.start)
            self.labels = nn.Parameter(logits, requires_grad=self.label_kind == "learned")
        raw = torch.full((), math.log(self.learning_rate), device=self.device)
        self.raw_rate = nn.Parameter(raw, requires_grad=self.learn_learning_rate)
        self.image_optimizer = self.decode.kept(self.optimisers.of_images(self.images))
        self.labelling = self.labeller.attach(self)
        learned = self.labels if self.label_kind == "learned" else None
        self.other_optimizer = self.optimisers.of_others(self.raw_rate, learned)
        self.averages = [value.detach().clone() for value in self._moved()] if self.ema_decay else []

    @property
    def classes(self) -> Tensor:
        """(M * K,) class of each stored image."""
        return torch.arange(self.data.description.num_classes, device=self.device).repeat(self.images_per_class)

    def _answer(self, expert: dict[str, Tensor], images: Tensor) -> Tensor:
        """Return an expert's logits (N, K) for images (N, C, H, W) of all classes, which normalise each other."""
        with answering(self.student):
            return unroll.call(self.student, expert, images)

    def _first(self, answer: Callable[[Tensor], Tensor]) -> Stored:
        """Return the first images, classes in turn, or in the order of a file whose soft labels are learned on."""
        if is_stored(self.start, STARTS):
            learned = self.label_kind == "learned"
            return stored_images(
                self.start, self.images_per_class, self.data, self.run, as_stored=learned, decode=self.decode
            )
        start: FirstImages = next(word for word in STARTS if word == self.start)
        random = self.run.streams["images"]
        return Stored(first_images(start, self.images_per_class, self.data, random, answer, decode=self.decode), None)

    def _check_run(self) -> None:
        world = self.run.processes.world
        if self.trajectories % world:
            raise UserError(
                f"trajectories is {self.trajectories}, which {world} processes cannot share equally; choose a multiple "
                f"of {world}"
            )

    def _parameters(self, expert: int, at: int) -> dict[str, Tensor]:
        return self.buffer.snapshot(expert, at, self.device)

    def _moved(self) -> list[Tensor]:
        return [self.images, self.raw_rate, *([self.labels] if self.label_kind == "learned" else [])]

    # -- one step -----------------------------------------------------------------------------------------------------

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return nothing: real images are seen by experts only."""
        shape = self.data.description.image_shape
        return torch.empty(0, *shape, device=self.device), torch.empty(0, dtype=torch.int64, device=self.device)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make one step; see the module's text.

        Args:
            batch: Not looked at.

        Returns:
            ``loss/matching``: the distance to the expert's target, 1 where the student started (mean over students),
            ``gradient/images``: norm of the images' gradient, ``lr/student`` and ``start/epoch`` (mean over students).
        """
        self.image_optimizer.zero_grad(set_to_none=True)
        self.other_optimizer.zero_grad(set_to_none=True)
        self.shown = Shown(self.decode, self.images, self.labels, self.classes)
        lessons = [self.plan.draw(self.step) for _ in range(self.trajectories)]
        mine = self.run.processes.shard(torch.arange(self.trajectories)).tolist()
        end = self.training.inner.end(lambda: self.plan.generator)
        groups = self.training.groups(self.student, mine)
        losses = [self._match({place: lessons[place] for place in group}, 1 / len(mine), end) for group in groups]
        moved = [value for value in self._moved() if value.requires_grad]
        rows = rows_of(len(self.shown.images), self.data.description.num_classes * self.decode.cells)
        self.add_extra(self._made, [*moved, *self.shown.leaves], rows)
        self.shown.backward()
        self.run.processes.average_gradients(moved)
        assert self.images.grad is not None
        norm = self.images.grad.norm()
        self.image_optimizer.step()
        self.other_optimizer.step()
        for average, value in zip(self.averages, self._moved(), strict=False):
            average.lerp_(value.detach(), 1 - self.ema_decay)
        return {
            "loss/matching": torch.stack(losses).sum() / len(mine),
            "gradient/images": norm,
            "lr/student": self.raw_rate.detach().exp(),
            "start/epoch": torch.full((), sum(lesson.start for lesson in lessons) / len(lessons), device=self.device),
        }

    def _made(self) -> Made:
        """Return all images, classes in turn, for losses beside the matching."""
        images, labels = self.shown.images, self.shown.labels
        classes = self.classes.repeat_interleave(self.decode.cells)
        return Made(images, classes, labels.softmax(1) if labels.is_floating_point() else None)

    def _match(self, lessons: dict[int, StudentLesson], weight: float, end: int) -> Tensor:
        """Train students, given by place, add ``weight`` times their gradient, return the sum of their distances."""
        followed = [
            Followed(
                lesson,
                self._parameters(lesson.expert, lesson.start),
                self._parameters(lesson.expert, lesson.start + self.expert_epochs),
                self.seed_of(f"draws/{self.step * self.trajectories + place}"),
            )
            for place, lesson in lessons.items()
        ]
        return self.training.backward(
            self.student,
            followed,
            self.shown.images,
            self.shown.labels,
            self.raw_rate.exp,
            weight,
            end=end,
            precision=self.run.options.precision,
        )

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def learned(self) -> Tensor:
        """Return what is stored in the end (M * K, ...): the images or their average."""
        return self.decode.allowed(self.averages[0]) if self.averages else self.images.detach()

    def teacher(self) -> Teacher:
        """Return the images with their labels and the students' learning rate."""
        _, raw_rate, *others = self.averages or self._moved()
        labels = others[0] if others else self.labels
        metadata = {
            "source": f"{type(self).__name__}, step {self.step}",
            "seed": self.run.options.seed,
            "learner": self.learner_spec,
            "student_steps": self.training.options.steps,
            "expert_epochs": self.expert_epochs,
            "max_start_epoch": self.plan_options.max_start,
            "augmentation": self.plan.strategy or "none",
            "images_per_class": self.images_per_class,
            "start": self.start,
            "gradient": self.training.options.gradient,
        } | self.training.inner.metadata()
        made = teacher_of(
            self.decode,
            self.learned().clone(),
            (labels.detach().softmax(1) if labels.is_floating_point() else labels).clone(),
            self.data.description.with_normalisation(self.normalisation),
            classes=self.classes,
            learning_rates=raw_rate.detach().exp().reshape(1).clone(),
            metadata=metadata,
        )
        return self.labeller.label(made, self.labelling, self.data.description)

    def watched(self) -> Watched:
        """Return the students' rate where it is learned, the images and their gradient."""
        return Watched(
            rates=self.raw_rate.detach().exp() if self.learn_learning_rate else None,
            rates_option="--trainer.lr_rate",
            moved={"the images": [self.images]},
            moved_option="--trainer.lr_images",
            gradients={"gradient/images": "the images' gradient"},
        )

    def samples(self) -> dict[str, Grid]:
        """Return the teacher's images as pixels, classes in turn, at most ten of each; and as they are stored."""
        values = self.learned()[: 10 * self.data.description.num_classes]
        with torch.no_grad():
            shown = decoded(self.decode, values, self.classes[: len(values)])[:: self.decode.cells]
        classes, names = self.classes[: len(values)], self.data.description.class_names
        pictures = {"distilled": grid_of_classes(self.normalisation.invert(shown).clamp(0, 1), classes, names)}
        stored = pixels_of(self.decode, values)
        return pictures if stored is None else pictures | {"stored": grid_of_classes(stored, classes, names)}
