"""Outer losses: what is asked of a learner that was trained differentiably; see :mod:`gendistill.unroll`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll


class RealLoss:
    """The outer loss: cross-entropy on a new real batch after each of the chosen steps.

    Args:
        learner: The network that is trained.
        steps: Numbers of steps done after which to look, ascending.
        images: (E, B, C, H, W) real images, one batch a look.
        labels: (E, B).
        evaluation: Call the learner as it is used after training, with its running statistics; for them to be those of
            its training the engine must carry them along (``buffers=True``). False: with the real batch's statistics.
    """

    final_loss: Tensor
    final_accuracy: Tensor

    def __init__(
        self, learner: nn.Module, steps: Sequence[int], images: Tensor, labels: Tensor, evaluation: bool = False
    ) -> None:
        self.learner = learner
        self.evaluation = evaluation
        self.looks = {step: look for look, step in enumerate(steps)}
        self.images = images
        self.labels = labels

    def __call__(self, step: int, parameters: unroll.Parameters) -> Tensor | None:
        """Return the loss after ``step`` steps, or None where real data is not looked at."""
        look = self.looks.get(step)
        if look is None:
            return None
        logits = unroll.call(self.learner, parameters, self.images[look], evaluation=self.evaluation)
        return self.judged(logits, look)

    def judged(self, logits: Tensor, look: int) -> Tensor:
        """Return the loss of logits (B, K) for the images of a look, and note it."""
        loss = self.objective(logits, self.labels[look])
        self.final_loss = loss.detach()
        self.final_accuracy = (logits.detach().argmax(1) == self.labels[look]).float().mean()
        return loss

    def objective(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what is asked of logits (B, K) for true labels (B,), a scalar: cross-entropy."""
        return F.cross_entropy(logits, labels)


class LossesTogether:
    """The outer loss of learners that are trained together: the sum of what is asked of each.

    Args:
        learners: All of them, see :class:`gendistill.unroll.Together`.
        losses: One for each learner, with the same looks.
    """

    def __init__(self, learners: unroll.Together, losses: Sequence[RealLoss]) -> None:
        self.learners = learners
        self.losses = losses

    def __call__(self, step: int, parameters: unroll.Parameters) -> Tensor | None:
        """Return the sum of the losses after ``step`` steps, or None where real data is not looked at."""
        look = self.losses[0].looks.get(step)
        if look is None:
            return None
        images = torch.stack([loss.images[look] for loss in self.losses])
        logits = unroll.call(self.learners, parameters, images, evaluation=self.losses[0].evaluation)
        return torch.stack([loss.judged(one, look) for loss, one in zip(self.losses, logits, strict=True)]).sum()


class AnyLossesTogether:
    """The same for outer losses of any kind, each asked with its own learner's weights.

    Args:
        learners: All of them, see :class:`gendistill.unroll.Together`.
        losses: One for each learner; all look after the same steps.
    """

    def __init__(self, learners: unroll.Together, losses: Sequence[unroll.OuterLoss]) -> None:
        self.learners = learners
        self.losses = losses

    def __call__(self, step: int, parameters: unroll.Parameters) -> Tensor | None:
        """Return the sum of the losses after ``step`` steps, or None where none is asked for."""
        values = [loss(step, own) for loss, own in zip(self.losses, self.learners.split(parameters), strict=True)]
        found = [value for value in values if value is not None]
        return torch.stack(found).sum() if found else None
