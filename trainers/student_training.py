"""Students of trajectory matching: trained from experts' weights, and the gradient that their distances give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.data.real import RealData
from gendistill.experts import Recipe, expert_buffer
from gendistill.experts.buffer import ExpertBuffer
from gendistill.inner import InnerOptions, InnerTraining, Lesson, ShownImages, Task
from gendistill.inner.options import WindowEnd
from gendistill.losses.trajectory import ParameterDistance
from gendistill.runs.context import RunContext
from trainers.student_plan import StudentLesson


@dataclass(frozen=True, kw_only=True)
class StudentInner(InnerOptions):
    """How students are trained; see :class:`gendistill.inner.InnerOptions`.

    Args:
        steps: N, steps of a student; at least 1.
        batch_size: Distilled images in a step; None: all.
    """

    steps: int = 30
    batch_size: int | None = None
    window_end: WindowEnd = "last"
    memory: unroll.Memory = "recompute"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_count("batch_size")


@dataclass(frozen=True)
class Followed:
    """One student with the expert that it follows.

    Attributes:
        lesson: What it sees at each step.
        start: Its weights at the start, by name.
        target: Those of the expert where it shall arrive.
        seed: What the student draws while it trains, such as dropout's, comes from it.
    """

    lesson: StudentLesson
    start: unroll.Parameters
    target: unroll.Parameters
    seed: int


class StudentTraining:
    """Trains students, and sends the gradient of their distances into what they saw.

    Args:
        options: How they are trained.
    """

    def __init__(self, options: StudentInner) -> None:
        self.inner = InnerTraining(options)
        self.options = options

    def groups(self, student: nn.Module, places: Sequence[int]) -> list[list[int]]:
        """Return students that are trained together, by their places: all of them, or each by itself."""
        return [list(places)] if self.inner.batched(student) else [[place] for place in places]

    def backward(
        self,
        student: nn.Module,
        followed: Sequence[Followed],
        images: Tensor,
        labels: Tensor,
        rate: Callable[[], Tensor],
        weight: float,
        *,
        end: int,
        precision: str = "float32",
    ) -> Tensor:
        """Train students and add ``weight`` times the gradient of the sum of their distances to what is trained.

        Args:
            student: The network.
            followed: What each of them does.
            images: All distilled images (M * K, C, H, W), a leaf.
            labels: Their classes (M * K,), or logits of soft labels (M * K, K).
            rate: Returns their learning rate, a scalar, with the graph that leads to what is trained, if any.
            weight: Of their gradient.
            end: Steps that they take; see :meth:`gendistill.inner.InnerTraining.end`.
            precision: The run's.

        Returns:
            The sum of their distances to their targets, detached, each 1 where it started.
        """
        shown: dict[Task, ShownImages] = {}
        tasks = {
            Task(student, ParameterDistance(end, one.target, one.start), one.seed, one.start): one for one in followed
        }

        def lesson(task: Task) -> Lesson:
            told = labels.softmax(1) if labels.is_floating_point() else labels
            batches = tasks[task].lesson.batches[:end]
            shown[task] = made = ShownImages(images, told, batches, self.inner.first(end))
            return Lesson(made.images, made.labels, rate().expand(end))

        total = []
        for taught in self.inner.train(list(tasks), lesson, shared=False, precision=precision):
            (weight * taught.loss).backward()
            for task in taught.tasks:
                shown.pop(task).backward()
            total.append(taught.loss.detach())
        return torch.stack(total).sum()


def open_experts(
    run: RunContext,
    data: RealData,
    student: nn.Module,
    learner: Mapping[str, Any],
    recipe: Recipe,
    count: int,
    epochs: int,
    folder: str | None,
    at_once: int | None = None,
) -> ExpertBuffer:
    """Open the experts that students follow, training those that are missing.

    Args:
        run: The run.
        data: What they are trained on.
        student: A network of their architecture.
        learner: Its spec.
        recipe: How they are trained.
        count: How many there are.
        epochs: For how many epochs.
        folder: Where they are kept; None: in ``run.root/experts``.
        at_once: How many are trained side by side; None: as many as cores, ten on a GPU.

    Raises:
        UserError: Experts in the folder are others.
    """
    options, processes = run.options, run.processes
    buffer = expert_buffer(
        learner,
        data,
        recipe,
        count,
        epochs,
        root=options.root,
        folder=folder,
        processes=processes,
        at_once=at_once,
        progress=options.progress and processes.main,
    )
    buffer.check_fits(student)
    return buffer
