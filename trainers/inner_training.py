"""How the learners of a meta-step are trained, and when and how real data is looked at on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.curriculum import Curriculum
from gendistill.errors import UserError
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm
from gendistill.outer import LossesTogether, RealLoss
from gendistill.poison import Poison, PoisonedLoss
from gendistill.seeds import Streams

Statistics = Literal["batch", "running"]


class InnerTraining:
    """The inner training of :class:`trainers.gtn.GTNTrainer`, which says what each option means.

    Args:
        steps: T, the steps that a learner takes unless a window ends earlier.
        real_every: Real data is looked at after every so many steps.
        window: Steps that are differentiated; None: all.
        statistics: What normalises real images; None: what the learner's layers ask for.
        optimizer: How learners move.
        memory: Memory mode of the unroll.
        batched: Whether learners of one architecture are trained together; None: on a GPU.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        steps: int,
        real_every: int,
        window: int | None,
        statistics: Statistics | None,
        optimizer: unroll.Optimizer,
        memory: unroll.Memory,
        batched: bool | None,
    ) -> None:
        if real_every < 1:
            raise UserError(f"real_every is {real_every}; give a whole number from 1")
        words = {
            "memory": (memory, unroll.MEMORY_MODES),
            "inner_optimizer": (optimizer, get_args(unroll.Optimizer)),
            "statistics": (statistics or "batch", get_args(Statistics)),
        }
        for name, (word, allowed) in words.items():
            if word not in allowed:
                raise UserError(f"{name} is '{word}'; use one of: {', '.join(allowed)}")
        if window is not None and not 1 <= window <= steps:
            raise UserError(f"window is {window}; give a number of steps from 1 to inner_steps, which is {steps}")
        self.steps = steps
        self.real_every = real_every
        self.window = window
        self.statistics = statistics
        self.optimizer = optimizer
        self.memory = memory
        self.batched = batched

    def looks(self, end: int) -> list[int]:
        """Return after how many steps real data is looked at where the training ends with step ``end``."""
        if self.window is None:
            return [step for step in range(1, end + 1) if step % self.real_every == 0 or step == end]
        return list(range(end, end - self.window, -self.real_every))[::-1]

    def end(self, streams: Streams) -> int:
        """Return after how many steps the learners of a meta-step stop: with a window a number drawn from W..T."""
        if self.window is None:
            return self.steps
        stream = streams["window"]
        return int(torch.randint(self.window, self.steps + 1, (), generator=stream, device=stream.device))

    def outer(
        self, learner: nn.Module, looks: Sequence[int], images: Tensor, labels: Tensor, poison: Poison | None
    ) -> RealLoss:
        """Return what is asked of a learner.

        Args:
            learner: The network.
            looks: What :meth:`looks` returned, E numbers.
            images: (E, B, C, H, W) real images.
            labels: (E, B) true classes.
            poison: What is to be taken for what; None: the truth.
        """
        running = self.statistics == "running"
        if self.statistics is None:
            running = any(isinstance(module, MeanOnlyBatchNorm) for module in learner.modules())
        if poison is None:
            return RealLoss(learner, looks, images, labels, running)
        return PoisonedLoss(learner, looks, images, labels, poison, running)

    def backward(
        self,
        outers: Sequence[RealLoss],
        shared: unroll.SharedImages,
        curriculum: Curriculum,
        end: int,
        precision: torch.dtype | None,
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        """Train all learners and send the gradient of their mean loss into what they saw.

        Args:
            outers: What is asked of each learner, with the learner.
            shared: The images; their own way back is left to the caller.
            curriculum: Has the learning rate and momentum of every step.
            end: Steps that are made.
            precision: Autocast the learners to this type; None: none.
            seeds: What each learner draws while it trains comes from its seed; learners that are trained together
                draw, each other numbers, from that of their first one.

        Returns:
            Means over the learners: ``loss/meta``, ``loss/final``, ``accuracy/meta``; with poison ``attack/success``.
        """
        looks = len(outers[0].looks)
        seed_of = dict(zip(map(id, outers), seeds, strict=True))
        losses = []
        for group in self._groups(outers, shared.images[0].device):
            learner, outer = group[0].learner, group[0]
            inner_loss: unroll.InnerLoss = F.cross_entropy
            options: dict[str, Any] = {"memory": self.memory, "optimizer": self.optimizer, "window": self.window}
            options |= {"buffers": outer.evaluation, "precision": precision, "seed": seed_of[id(outer)]}
            asked: unroll.OuterLoss = outer
            if len(group) > 1:
                learner = together = unroll.Together([one.learner for one in group])
                asked, inner_loss = LossesTogether(together, group), unroll.summed(inner_loss)
            # Asked for again each time: a way back can be passed only once.
            rates, momenta = curriculum.learning_rates[:end], curriculum.momenta[:end]
            result = unroll.unrolled_loss(
                learner, shared.images, shared.labels, rates, momenta, asked, inner_loss=inner_loss, **options
            )
            loss = result.loss / looks
            (loss / len(outers)).backward()
            losses.append(loss.detach())
        noted = {"loss/final": [o.final_loss for o in outers], "accuracy/meta": [o.final_accuracy for o in outers]}
        if isinstance(outers[0], PoisonedLoss):
            noted["attack/success"] = [outer.final_success for outer in outers if isinstance(outer, PoisonedLoss)]
        means = {name: torch.stack(values).mean() for name, values in noted.items()}
        return {"loss/meta": torch.stack(losses).sum() / len(outers)} | means

    def _groups(self, outers: Sequence[RealLoss], device: torch.device) -> list[list[RealLoss]]:
        """Return learners that are trained together: those of one architecture, or each by itself."""
        batched = device.type == "cuda" if self.batched is None else self.batched
        if not batched:
            return [[outer] for outer in outers]
        groups: list[list[RealLoss]] = []
        for outer in outers:
            alike = [group for group in groups if _kind(group[0]) == _kind(outer)]
            if alike:
                alike[0].append(outer)
            else:
                groups.append([outer])
        return groups


def _kind(outer: RealLoss) -> tuple[Any, bool]:
    return getattr(outer.learner, "spec", None), outer.evaluation
