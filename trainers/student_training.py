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
        raw_rate: Tensor,
        weight: float,
        seed: int,
    ) -> Tensor:
        """Train one student and add ``weight`` times its gradient to what is trained.

        Args:
            student: The network.
            lesson: What it sees at each step.
            start: Its weights at the start, by name.
            target: Those of the expert where it shall arrive.
            images: All distilled images (M * K, C, H, W), a leaf.
            labels: Their classes (M * K,), or logits of soft labels (M * K, K).
            raw_rate: Logarithm of its learning rate, a scalar.
            weight: Of its gradient.
            seed: What the student draws while it trains, such as dropout's, comes from it.

        Returns:
            Its distance to the target, detached, 1 where it started.
        """
        # Leaves: the graph of each augmentation is made when it is needed, one at a time.
        with torch.no_grad():
            shown = [apply(images[index], how) for index, how in lesson.batches]
        shown = [image.requires_grad_() for image in shown]
        every = labels.softmax(1) if labels.is_floating_point() else labels
        told = [every[index] for index, _ in lesson.batches]
        rates = raw_rate.exp().expand(self.steps)
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
            ).loss
        (weight * loss).backward()
        for image, (index, how) in zip(shown, lesson.batches, strict=True):
            if image.grad is not None:
                apply(images[index], how).backward(image.grad)
        return loss.detach()
