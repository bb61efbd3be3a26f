"""Training learners inside, one after another or together, and what is asked of them on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.inner.lesson import Lesson, Task, Taught
from gendistill.inner.options import BLOCK, InnerOptions
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm
from gendistill.outer import AnyLossesTogether, LossesTogether, RealLoss
from gendistill.poison import Poison, PoisonedLoss
from gendistill.unroll.direct import direct_loss

DTYPES: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}


class InnerTraining:
    """Trains the learners of a meta-step as a function of what they are shown.

    Args:
        options: How.

    Attributes:
        options: The same.
        graphs: Recorded steps, of which trainings are made; None: steps are made by the program. With the shortcut
            they have no use.
        compile: Whether steps are compiled where they can be: those of one learner by SGD in float32 without running
            statistics; see :class:`gendistill.unroll.CompiledStep`.
    """

    def __init__(self, options: InnerOptions) -> None:
        self.options = options
        self.compile = False
        self._compiled: dict[tuple[Any, ...], unroll.CompiledStep | None] = {}
        self.graphs: unroll.StepGraphs | None = None

    def record(self, wanted: bool) -> None:
        """Make trainings of recorded steps from here on, or of steps that the program makes.

        Args:
            wanted: The run's ``cuda_graphs``.
        """
        self.graphs = unroll.StepGraphs() if wanted else None

    def end(self, stream: Callable[[], torch.Generator]) -> int:
        """Return after how many steps the learners of a meta-step stop.

        Args:
            stream: Asked for a generator where a window's end is drawn, and only then.
        """
        options = self.options
        if options.window is None or options.window_end == "last":
            return options.total
        drawn = stream()
        return int(torch.randint(options.window, options.total + 1, (), generator=drawn, device=drawn.device))

    def first(self, end: int) -> int:
        """Return the number of steps before those that are differentiated, of ``end`` steps."""
        return 0 if self.options.window is None else end - self.options.window

    def looks(self, end: int, every: int) -> list[int]:
        """Return after how many steps real data is looked at where training ends with step ``end``.

        Args:
            end: At least 1.
            every: A look after every so many steps, and after the last; within a window counted back from its end.
        """
        window = self.options.window
        if window is None:
            return [step for step in range(1, end + 1) if step % every == 0 or step == end]
        return list(range(end, end - window, -every))[::-1]

    def tracks(self, learner: nn.Module) -> bool:
        """Return whether a learner's running statistics are carried along and looked at."""
        if self.options.statistics is None:
            return any(isinstance(module, MeanOnlyBatchNorm) for module in learner.modules())
        return self.options.statistics == "running"

    def batched(self, learner: nn.Module) -> bool:
        """Return whether a learner is trained together with others of its architecture."""
        if self.options.batched is not None:
            return self.options.batched
        return any(value.is_cuda for value in learner.parameters())

    def real_loss(
        self,
        learner: nn.Module,
        looks: Sequence[int],
        images: Tensor,
        labels: Tensor,
        poison: Poison | None = None,
    ) -> RealLoss:
        """Return the loss on real images, and what it notes.

        Args:
            learner: The network.
            looks: Numbers of steps after which it is looked at, E of them.
            images: (E, B, C, H, W) real images.
            labels: (E, B) true classes.
            poison: What is to be taken for what; None: the truth.
        """
        running = self.tracks(learner)
        if poison is None:
            return RealLoss(learner, looks, images, labels, running)
        return PoisonedLoss(learner, looks, images, labels, poison, running)

    def metadata(self) -> dict[str, Any]:
        """Return what a teacher must say of how it was made: the optimiser that its rates are for, if not SGD."""
        return {} if self.options.optimizer == "sgd" else {"optimizer": self.options.optimizer}

    def train(
        self,
        tasks: Sequence[Task],
        lesson: Callable[[Task], Lesson],
        *,
        shared: bool = True,
        precision: str = "float32",
    ) -> Iterator[Taught]:
        """Train learners, and give each, or all that are trained together, when they are done.

        Send a loss back before the next is asked for: only then its graph is gone.

        Args:
            tasks: Who is trained.
            lesson: Returns what a learner sees; asked for when its turn comes, as a way back can be passed only once.
            shared: Whether all see the same; otherwise each has a lesson of its own, of as many images.
            precision: The run's, for learners without a precision of their own.
        """
        dtype = DTYPES[self.options.precision or precision]
        for group in self._groups(tasks):
            if len(group) == 1:
                yield self._alone(group[0], lesson(group[0]), dtype)
            else:
                lessons = [lesson(task) for task in (group[:1] if shared else group)]
                yield self._together(group, lessons, dtype)

    def _alone(self, task: Task, lesson: Lesson, dtype: torch.dtype | None) -> Taught:
        done = self._unrolled(task, lesson, F.cross_entropy, dtype)
        return Taught([task], done.loss, [done.parameters | done.buffers])

    def _together(self, tasks: list[Task], lessons: list[Lesson], dtype: torch.dtype | None) -> Taught:
        together = unroll.Together([task.learner for task in tasks])
        starts = [task.start for task in tasks if task.start is not None]
        task = Task(
            together,
            _asked_together(together, [task.outer for task in tasks]),
            tasks[0].seed,
            together.stacked(starts) if starts else None,
        )
        lesson = lessons[0]
        if len(lessons) > 1:
            images, labels = (
                [torch.stack(batches) for batches in zip(*every, strict=True)]
                for every in ([one.images for one in lessons], [one.labels for one in lessons])
            )
            lesson = replace(lesson, images=images, labels=labels)
        inner_loss = unroll.summed(F.cross_entropy, own_labels=len(lessons) > 1)
        done = self._unrolled(task, lesson, inner_loss, dtype)
        return Taught(tasks, done.loss, together.split(done.parameters | done.buffers))

    def _unrolled(
        self, task: Task, lesson: Lesson, inner_loss: unroll.InnerLoss, dtype: torch.dtype | None
    ) -> unroll.Unrolled:
        options = self.options
        given: dict[str, Any] = {"inner_loss": inner_loss, "precision": dtype, "seed": task.seed}
        # Not in a precision that the caller is in: learners have one of their own.
        with torch.autocast(lesson.images[0].device.type, enabled=False):
            if options.gradient == "shortcut":
                start = unroll.initial_parameters(task.learner) if task.start is None else task.start
                return direct_loss(
                    task.learner, lesson.images, lesson.labels, lesson.rates, task.outer, parameters=start, **given
                )
            running = self.tracks(unroll.representative(task.learner))
            plain = options.optimizer == "sgd" and dtype is None and not running
            return unroll.unrolled_loss(
                task.learner,
                lesson.images,
                lesson.labels,
                lesson.rates,
                lesson.all_momenta,
                task.outer,
                parameters=task.start,
                memory=options.memory,
                optimizer=options.optimizer,
                window=options.window,
                buffers=running,
                graphs=self.graphs,
                compiled=self._step_of(task.learner) if self.compile and plain and self.graphs is None else None,
                **given,
            )

    def _step_of(self, learner: nn.Module) -> unroll.CompiledStep | None:
        """Return the compiled step of learners of one architecture, whose weights are given at each call."""
        if isinstance(learner, unroll.Together):
            return None
        shapes = tuple((name, value.shape) for name, value in learner.named_parameters())
        alike = (type(learner), repr(learner), repr(getattr(learner, "spec", None)), shapes)
        if alike not in self._compiled:
            self._compiled[alike] = unroll.CompiledStep.where(learner, True)
        return self._compiled[alike]

    def _groups(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """Return learners that are trained together: those of one architecture, or each by itself."""
        groups: list[list[Task]] = []
        for task in tasks:
            together = self.batched(task.learner)
            alike = [group for group in groups if _kind(group[0]) == _kind(task)] if together else []
            if alike:
                alike[0].append(task)
            else:
                groups.append([task])
        return groups


def _kind(task: Task) -> tuple[Any, ...]:
    """Return what learners have in common that can be trained together."""
    shapes = {name: value.shape for name, value in task.learner.state_dict().items()}
    running = isinstance(task.outer, RealLoss) and task.outer.evaluation
    return type(task.learner), getattr(task.learner, "spec", None), shapes, running, type(task.outer)


def _asked_together(together: unroll.Together, outers: list[unroll.OuterLoss]) -> unroll.OuterLoss:
    real = [outer for outer in outers if isinstance(outer, RealLoss)]
    return LossesTogether(together, real) if len(real) == len(outers) else AnyLossesTogether(together, outers)


def check_looks(every: int) -> None:
    """Refuse a number of steps between two looks that is none.

    Raises:
        UserError: Names the option.
    """
    if every < 1:
        raise UserError(f"real_every is {every}; give a whole number from 1, such as {BLOCK}.steps for the last alone")
