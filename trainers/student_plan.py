"""What a student of trajectory matching does: where it starts, what it sees at every step, how that is augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gendistill.data.augment import MODES, Parameters, draw_parameters, parse
from gendistill.data.description import Description
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.protocols import named_strategy
from gendistill.seeds import stream


@dataclass(frozen=True)
class StudentLesson:
    """What one student is to do.

    Attributes:
        expert: Whose steps it follows.
        start: The epoch at which it starts.
        batches: For each of its steps the distilled images that it sees (B,) and how they are augmented.
    """

    expert: int
    start: int
    batches: list[tuple[Tensor, Parameters]]


@dataclass(frozen=True)
class PlanOptions:
    """What is drawn from.

    Attributes:
        experts: How many there are.
        steps: N, steps of a student.
        batch: Distilled images in a step; None: all.
        min_start: Smallest epoch at which students start.
        max_start: They start before this one.
        first_max_start: The bound at the first step, which then grows to ``max_start``; None: no growth.
        widen_steps: Steps in which it grows.
        augment: Strategy, ``dsa`` or None; see :func:`gendistill.evaluation.protocols.named_strategy`.
        augment_mode: ``single``, ``each`` or ``all``.
        siamese: Whether the images of a step are augmented all alike.

    Raises:
        UserError: An option is out of range.
    """

    experts: int
    steps: int
    batch: int | None
    min_start: int
    max_start: int
    first_max_start: int | None
    widen_steps: int
    augment: str | None
    augment_mode: str
    siamese: bool

    def __post_init__(self) -> None:
        first = self.first
        if not 0 <= self.min_start < first <= self.max_start:
            raise UserError(
                "students start from min_start_epoch on and before first_max_start_epoch, which is at most "
                f"max_start_epoch; got {self.min_start}, {self.first_max_start} and {self.max_start}"
            )
        if self.widen_steps < 0 or (self.widen_steps > 0) != (first < self.max_start):
            raise UserError(
                f"widen_steps is {self.widen_steps}; give a number from 1 where first_max_start_epoch is below "
                "max_start_epoch, otherwise 0"
            )
        if self.augment != "dsa":
            parse(self.augment)
        if self.augment_mode not in MODES:
            raise UserError(
                f"augment_mode is '{self.augment_mode}'; {did_you_mean(self.augment_mode, MODES)}use one of: "
                f"{', '.join(MODES)}"
            )

    @property
    def first(self) -> int:
        """The bound at the first step."""
        return self.max_start if self.first_max_start is None else self.first_max_start

    def bound(self, step: int) -> int:
        """Return the epoch before which students start at a step (Guo et al. 2024, DATM)."""
        if step >= self.widen_steps:
            return self.max_start
        return self.first + (self.max_start - self.first) * step // self.widen_steps


class StudentPlan:
    """Draws lessons from a stream of its own, on the CPU: the draws decide which file is read.

    Args:
        options: What is drawn from.
        count: Distilled images.
        description: The data set.
        seed: The run's seed.
        device: Where indices go.

    Raises:
        UserError: A batch is larger than all images.
    """

    def __init__(
        self, options: PlanOptions, count: int, description: Description, seed: int, device: torch.device
    ) -> None:
        if options.batch is not None and not 1 <= options.batch <= count:
            raise UserError(
                f"inner.batch_size is {options.batch}; there are {count} distilled images: give 1 to {count}"
            )
        self.options, self.count, self.device = options, count, device
        self.shape = description.image_shape
        self.strategy = named_strategy(options.augment, description)
        self.generator = stream(seed, "matching/plan")

    def one_of(self, count: int) -> int:
        """Return a number from 0 to ``count - 1``."""
        return int(torch.randint(count, (), generator=self.generator))

    def draw(self, step: int) -> StudentLesson:
        """Return a student's lesson at a step of the run; its batches go through all images before any comes again."""
        options = self.options
        expert = self.one_of(options.experts)
        start = options.min_start + self.one_of(options.bound(step) - options.min_start)
        size = options.batch or self.count
        batches, waiting = [], torch.empty(0, dtype=torch.int64)
        for _ in range(options.steps):
            index = torch.arange(self.count)
            if size < self.count:
                index, waiting = self._next(waiting, size)
            rows = 1 if options.siamese else size
            how = draw_parameters(self.strategy, rows, self.shape, self.generator, mode=options.augment_mode)
            batches.append((index.to(self.device, non_blocking=True), how))
        return StudentLesson(expert, start, batches)

    def _next(self, waiting: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return the next batch of ``size`` images, and those that are then left of their turn.

        What is left of a turn comes first; the next turn fills it up with other images, none twice in a batch.
        """
        if len(waiting) >= size:
            return waiting[:size], waiting[size:]
        order = torch.randperm(self.count, generator=self.generator)
        filling = order[~torch.isin(order, waiting)][: size - len(waiting)]
        return torch.cat([waiting, filling]), order[~torch.isin(order, filling)]

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream is."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.generator.set_state(state["generator"].cpu())
