"""One student of trajectory matching: trained from an expert's weights, and the gradient that its distance gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.data.augment import apply
from gendistill.errors import UserError
from gendistill.losses.trajectory import ParameterDistance
from gendistill.unroll.direct import direct_loss
from trainers.checks import check_words
from trainers.student_plan import Lesson

Gradient = Literal["exact", "shortcut"]


@dataclass(frozen=True)
class StudentTraining:
    """How a student's training is differentiated.

    Attributes:
        steps: N, steps of a student.
        gradient: ``exact`` or ``shortcut``; see :class:`trainers.trajectory_matching.TrajectoryMatchingTrainer`.
        memory: Memory mode of the exact gradient; see :mod:`gendistill.unroll`.
        window: Only the last so many steps are differentiated (exact gradient only); None: all.

    Raises:
        UserError: An option is out of range.
    """

    steps: int
    gradient: Gradient
    memory: unroll.Memory
    window: int | None

    def __post_init__(self) -> None:
        check_words(gradient=(self.gradient, get_args(Gradient)), memory=(self.memory, unroll.MEMORY_MODES))
        window = self.window
        if window is not None and (not 1 <= window <= self.steps or self.gradient != "exact"):
            raise UserError(f"window is {window}; it must lie in 1..{self.steps} (student_steps), gradient be exact")

    def backward(
        self,
        student: nn.Module,
        lesson: Lesson,
        start: dict[str, Tensor],
        target: dict[str, Tensor],
        images: Tensor,
        labels: Tensor,
        rate: Tensor,
        weight: float,
        seed: int,
        compiled: unroll.CompiledStep | None = None,
    ) -> Tensor:
        """Train one student and add ``weight`` times its gradient to what is trained.

        Each step has leaves of its own: the way back through an index into all images would write a gradient of the
        size of all for every step, and only one step's augmentation has a graph at a time.

        Args:
            student: The network.
            lesson: What it sees at each step.
            start: Its weights at the start, by name.
            target: Those of the expert where it shall arrive.
            images: All distilled images (M * K, C, H, W), a leaf.
            labels: Their classes (M * K,), or logits of soft labels (M * K, K).
            rate: Its learning rate, a scalar, with the graph that leads to what is trained, if any.
            weight: Of its gradient.
            seed: What the student draws while it trains, such as dropout's, comes from it.
            compiled: Makes its steps (exact gradient only).

        Returns:
            Its distance to the target, detached, 1 where it started.
        """
        with torch.no_grad():
            shown = [apply(images.index_select(0, index), how) for index, how in lesson.batches]
        shown = [batch.requires_grad_() for batch in shown]
        every = labels.softmax(1) if labels.is_floating_point() else labels
        told = [every.detach().index_select(0, index) for index, _ in lesson.batches]
        told = [batch.requires_grad_(every.requires_grad) for batch in told]
        rates = rate.expand(self.steps)
        distance = ParameterDistance(self.steps, target, start)
        if self.gradient == "shortcut":
            loss = direct_loss(student, shown, told, rates, distance, parameters=start, seed=seed).loss
        else:
            loss = unroll.unrolled_loss(
                student,
                shown,
                told,
                rates,
                torch.zeros_like(rates),
                distance,
                parameters=start,
                memory=self.memory,
                window=self.window,
                seed=seed,
                compiled=compiled,
            ).loss
        (weight * loss).backward()
        if images.grad is None:
            images.grad = torch.zeros_like(images)
        for batch, (index, how) in zip(shown, lesson.batches, strict=True):
            if batch.grad is not None:
                own = images.detach().index_select(0, index).requires_grad_()
                images.grad.index_add_(0, index, torch.autograd.grad(apply(own, how), own, batch.grad)[0])
        if every.requires_grad:
            gradient = torch.zeros_like(every)
            for batch, (index, _) in reversed(list(zip(told, lesson.batches, strict=True))):
                if batch.grad is not None:
                    gradient.index_add_(0, index, batch.grad)
            every.backward(gradient)
        return loss.detach()
