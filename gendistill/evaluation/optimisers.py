"""SGD, Adam and AdamW on a matrix of parameters, one row a learner, with a step size of its own for every row.

The updates are those of torch's optimisers of these names; a test holds them against each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

Value = float | Tensor
"""One number, or a column (R, 1) with a number a row."""


class RowOptimiser(ABC):
    """Updates rows of a matrix in place.

    Args:
        parameters: (E, P), one learner's parameters a row.
    """

    def __init__(self, parameters: Tensor) -> None:
        self.parameters = parameters

    @abstractmethod
    def memory(self) -> dict[str, Tensor]:
        """Return what it remembers of earlier updates by name, each (E, P)."""

    @abstractmethod
    def update(
        self, rows: slice, gradient: Tensor, step: int, rate: Value, momentum: Value, weight_decay: Value
    ) -> None:
        """Make one update of some rows.

        Args:
            rows: Which learners, R of them.
            gradient: (R, P); overwritten.
            step: Updates made so far.
            rate: Step size.
            momentum: Momentum.
            weight_decay: Factor of the parameters that is added to the gradient, or of what :class:`RowAdamW` shrinks.
        """


class RowSGD(RowOptimiser):
    """Stochastic gradient descent with momentum, ``v = momentum v + g``, ``parameters -= rate v``."""

    def __init__(self, parameters: Tensor) -> None:
        super().__init__(parameters)
        self.velocity = torch.zeros_like(parameters)

    def memory(self) -> dict[str, Tensor]:
        """Return the velocities."""
        return {"velocity": self.velocity}

    @torch.no_grad()
    def update(
        self, rows: slice, gradient: Tensor, step: int, rate: Value, momentum: Value, weight_decay: Value
    ) -> None:
        """Make one update of some rows; see :meth:`RowOptimiser.update`."""
        parameters, velocity = self.parameters[rows], self.velocity[rows]
        gradient += parameters * weight_decay
        velocity.mul_(momentum).add_(gradient)
        parameters -= velocity * rate


class RowAdam(RowOptimiser):
    """Adam with torch's defaults (betas 0.9 and 0.999, epsilon 1e-8); ``momentum`` is not used."""

    betas = (0.9, 0.999)
    epsilon = 1e-8

    def __init__(self, parameters: Tensor) -> None:
        super().__init__(parameters)
        self.first = torch.zeros_like(parameters)
        self.second = torch.zeros_like(parameters)

    def memory(self) -> dict[str, Tensor]:
        """Return both moments."""
        return {"first": self.first, "second": self.second}

    @torch.no_grad()
    def update(
        self, rows: slice, gradient: Tensor, step: int, rate: Value, momentum: Value, weight_decay: Value
    ) -> None:
        """Make one update of some rows; see :meth:`RowOptimiser.update`."""
        parameters, first, second = self.parameters[rows], self.first[rows], self.second[rows]
        gradient += parameters * weight_decay
        first.lerp_(gradient, 1.0 - self.betas[0])
        second.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1.0 - self.betas[1])
        corrected = [1.0 - beta ** (step + 1) for beta in self.betas]
        scale = second.sqrt().div_(corrected[1] ** 0.5).add_(self.epsilon)
        parameters -= first / scale * (rate / corrected[0])


class RowAdamW(RowAdam):
    """Adam with decoupled weight decay, ``parameters *= 1 - rate weight_decay`` before each update.

    Loshchilov and Hutter 2019, with torch's defaults.
    """

    @torch.no_grad()
    def update(
        self, rows: slice, gradient: Tensor, step: int, rate: Value, momentum: Value, weight_decay: Value
    ) -> None:
        """Make one update of some rows; see :meth:`RowOptimiser.update`."""
        self.parameters[rows] *= 1.0 - rate * weight_decay
        super().update(rows, gradient, step, rate, momentum, 0.0)


OPTIMISERS: dict[str, type[RowOptimiser]] = {"sgd": RowSGD, "adam": RowAdam, "adamw": RowAdamW}
