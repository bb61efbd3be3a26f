"""Outer losses: what is asked of a learner that was trained differentiably; see :mod:`gendistill.unroll`."""

from __future__ import annotations

from collections.abc import Sequence

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
        loss = self.objective(logits, self.labels[look])
        self.final_loss = loss.detach()
        self.final_accuracy = (logits.detach().argmax(1) == self.labels[look]).float().mean()
        return loss

    def objective(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what is asked of logits (B, K) for true labels (B,), a scalar: cross-entropy."""
        return F.cross_entropy(logits, labels)
