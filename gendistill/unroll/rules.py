"""How a learner moves: update rules that can be differentiated twice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Optimizer = Literal["sgd", "adam"]


class Rule(ABC):
    """One way to update; what it remembers between steps (its slots) is a flat list of tensors, empty at the start."""

    @abstractmethod
    def step(
        self,
        step: int,
        theta: Sequence[Tensor],
        slots: Sequence[Tensor],
        gradient: Sequence[Tensor],
        rate: Tensor,
        momentum: Tensor,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Make one update.

        Args:
            step: Updates made before, 0..T-1.
            theta: The parameters.
            slots: What the last step returned; empty at step 0.
            gradient: One a parameter.
            rate: Step size (scalar).
            momentum: Momentum (scalar), as far as the rule heeds it.

        Returns:
            New parameters and slots.
        """


class SGD(Rule):
    """v = momentum v + g, theta = theta - rate v: ``torch.optim.SGD``."""

    def step(
        self,
        step: int,
        theta: Sequence[Tensor],
        slots: Sequence[Tensor],
        gradient: Sequence[Tensor],
        rate: Tensor,
        momentum: Tensor,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Make one update; see :meth:`Rule.step`."""
        velocity = [momentum * v + g for v, g in zip(slots, gradient, strict=True)] if slots else list(gradient)
        return [p - rate * v for p, v in zip(theta, velocity, strict=True)], velocity


class Adam(Rule):
    """``torch.optim.Adam`` with its default betas and epsilon; the momenta are not used.

    The square root's slope is infinite at a second moment of zero, which a unit that is never active has. ``ROOT``
    under the root makes it finite; torch's Adam has none. It changes a step by less than one part in 1e5.
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8
    ROOT = 1e-22

    def step(
        self,
        step: int,
        theta: Sequence[Tensor],
        slots: Sequence[Tensor],
        gradient: Sequence[Tensor],
        rate: Tensor,
        momentum: Tensor,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Make one update; see :meth:`Rule.step`."""
        count = len(theta)
        zeros = [torch.zeros_like(g) for g in gradient] if not slots else []
        one, two = self.BETAS
        first = [one * m + (1 - one) * g for m, g in zip(slots[:count] or zeros, gradient, strict=True)]
        second = [two * s + (1 - two) * g * g for s, g in zip(slots[count:] or zeros, gradient, strict=True)]
        rate = rate / (1 - one ** (step + 1))
        correction = 1 - two ** (step + 1)
        moved = [
            p - rate * m / ((s / correction + self.ROOT).sqrt() + self.EPSILON)
            for p, m, s in zip(theta, first, second, strict=True)
        ]
        return moved, first + second


RULES: dict[str, Rule] = {"sgd": SGD(), "adam": Adam()}
