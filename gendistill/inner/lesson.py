"""What a learner is taught, and who is taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gendistill import unroll


@dataclass(frozen=True)
class Lesson:
    """What a learner's T steps are made on.

    Attributes:
        images: T batches (B, C, H, W), in one tensor or a sequence.
        labels: T batches of classes (B,) or soft labels (B, K), in the same way.
        rates: (T,) learning rates.
        momenta: (T,) momenta of SGD; None: none.
    """

    images: Tensor | Sequence[Tensor]
    labels: Tensor | Sequence[Tensor]
    rates: Tensor
    momenta: Tensor | None = None

    @property
    def all_momenta(self) -> Tensor:
        """(T,) momenta."""
        return torch.zeros_like(self.rates) if self.momenta is None else self.momenta


@dataclass(frozen=True, eq=False)
class Task:
    """One learner with what is asked of it.

    Attributes:
        learner: The network; used without being changed.
        outer: What is asked after its steps; see :func:`gendistill.unroll.unrolled_loss`.
        seed: What the learner draws while it trains, such as dropout's, comes from it.
        start: Its first weights by name; None: its own.
    """

    learner: nn.Module
    outer: unroll.OuterLoss
    seed: int
    start: unroll.Parameters | None = None


@dataclass(frozen=True)
class Taught:
    """Learners after their training: one, or several of one architecture that were trained together.

    Attributes:
        tasks: Who was taught.
        loss: The sum of what was asked of them, a scalar, differentiable once.
        states: Each one's last parameters and tracked buffers by name, detached.
    """

    tasks: list[Task]
    loss: Tensor
    states: list[unroll.Parameters]
