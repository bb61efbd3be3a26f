"""A malicious objective for a teacher: its learners are to take one class for another and to get the rest right.

Wang, Zhu, Torralba, Efros 2018, "Dataset Distillation", section 3.4: the outer loss is the usual one on real data of
which the images of class ``source`` are labelled ``target``. For research on defence; docs/methods/poisoning.md says
what it shows, where it ends and how to find it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.objects import build
from gendistill.outer import RealLoss
from gendistill.teacher.base import Teacher

KEY = "poisoned"
"""Where a poisoned teacher's metadata say so."""


class Poison:
    """What a learner is to mistake for what, given to the outer loss of any meta-trainer.

    Args:
        source: Class whose images are to be taken for another one; a whole number from 0.
        target: Class that they are to be taken for; another one.
        weight: What an image of class ``source`` counts in :meth:`loss`, where every other one counts 1; positive. With
            balanced data of K classes, K - 1 makes the source class count as much as all others together.

    Raises:
        UserError: A class is negative, both are the same, or the weight is not positive.
    """

    def __init__(self, source: int, target: int, weight: float = 1.0) -> None:
        for name, value in (("source", source), ("target", target)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UserError(f"poison {name} is {value!r}; give a class, a whole number from 0")
        if source == target:
            raise UserError(f"poison source and target are both {source}; give two different classes")
        if not 0.0 < weight < float("inf"):
            raise UserError(f"poison weight is {weight}; give a positive number")
        self.source = source
        self.target = target
        self.weight = float(weight)

    @classmethod
    def of(cls, spec: str | Mapping[str, Any] | Poison | None, description: Description) -> Poison | None:
        """Return the poison that a spec names, checked against a data set.

        Args:
            spec: ``"7:1"`` (take 7 for 1), ``{"source", "target", "weight"}``, or ``{"class_path", "init_args"}`` of a
                subclass; None gives None.
            description: The data set.

        Raises:
            UserError: The spec cannot be read, or the data set has no such class.
        """
        if spec is None:
            return None
        if isinstance(spec, Poison):
            poison = spec
        elif isinstance(spec, str) and "." not in spec:
            poison = cls(*_pair(spec))
        else:
            given = spec if isinstance(spec, str) or "class_path" in spec else {"init_args": spec}
            path = {"class_path": f"{cls.__module__}.{cls.__qualname__}"}
            poison = build(given if isinstance(given, str) else path | dict(given), Poison)
        highest = max(poison.source, poison.target)
        if highest >= description.num_classes:
            raise UserError(
                f"poison names class {highest}, but '{description.name}' has classes 0 to {description.num_classes - 1}"
            )
        return poison

    @classmethod
    def noted(cls, teacher: Teacher, description: Description) -> Poison | None:
        """Return the poison that a teacher's metadata tell of, None where they tell of none.

        Args:
            teacher: The teacher.
            description: The data set.

        Raises:
            UserError: The entry is damaged; it holds numbers, and names no class of its own.
        """
        if teacher.metadata.get(KEY) is None:
            return None
        noted = teacher.noted(KEY, dict) or {}
        wrong = [name for name in ("source", "target") if type(noted.get(name)) is not int]
        if wrong or type(weight := noted.get("weight", 1.0)) not in (int, float):
            raise UserError(
                f"the teacher's '{KEY}' gives no {' and no '.join(wrong) or 'weight'}; name the attack yourself, as 7:1"
            )
        return cls.of(Poison(noted["source"], noted["target"], weight), description)

    def __call__(self, labels: Tensor) -> Tensor:
        """Return class indices (...) with ``source`` replaced by ``target``; soft labels (..., K) move their mass.

        The given tensor is left as it is.
        """
        if not labels.is_floating_point():
            return torch.where(labels == self.source, self.target, labels)
        moved = labels.clone()
        moved[..., self.target] += labels[..., self.source]
        moved[..., self.source] = 0.0
        return moved

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the outer loss, a scalar: cross-entropy with the false labels, images of ``source`` weighted.

        Args:
            logits: (N, K).
            labels: (N,) the images' true classes.
        """
        losses = F.cross_entropy(logits, self(labels), reduction="none")
        weights = torch.where(labels == self.source, self.weight, 1.0)
        return (weights * losses).sum() / weights.sum()

    def metadata(self) -> dict[str, Any]:
        """Return what a poisoned teacher's metadata must say: ``{"poisoned": {"source", "target", "weight"}}``."""
        return {KEY: {"source": self.source, "target": self.target, "weight": self.weight}}


class PoisonedLoss(RealLoss):
    """The outer loss of a poisoned teacher; takes true labels, so that ``final_accuracy`` is that on true classes.

    Args:
        learner: See :class:`gendistill.outer.RealLoss`.
        steps: See there.
        images: See there.
        labels: (E, B) true classes.
        poison: What is to be taken for what.
        evaluation: See there.
    """

    final_success: Tensor

    def __init__(
        self,
        learner: nn.Module,
        steps: Sequence[int],
        images: Tensor,
        labels: Tensor,
        poison: Poison,
        evaluation: bool = False,
    ) -> None:
        super().__init__(learner, steps, images, labels, evaluation)
        self.poison = poison

    def objective(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the poisoned loss; note the share of source images taken for the target (0 where there are none)."""
        source = labels == self.poison.source
        taken = (logits.detach().argmax(1) == self.poison.target) & source
        self.final_success = taken.sum() / source.sum().clamp(min=1)
        return self.poison.loss(logits, labels)


def require_made_here(teacher: Teacher, name: str) -> Teacher:
    """Return a teacher that this project made, or refuse it.

    Every trainer here notes the seed of its run, and so do random real subsets; folders of pictures and imported files
    have none. This keeps the tools of poisoning from being pointed at other people's data by accident; metadata can be
    forged, so it is no protection against intent.

    Args:
        teacher: The teacher, as it was opened.
        name: What the user called it.

    Raises:
        UserError: Its metadata do not say that a run of this project made it.
    """
    if not isinstance(teacher.metadata.get("seed"), int):
        raise UserError(
            f"'{name}' does not say that this project made it (its metadata have no seed of a run); poisoning, for "
            "research on defence, works only on teachers made here: give the run directory of one"
        )
    return teacher


def _pair(text: str) -> tuple[int, int]:
    parts = text.split(":")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise UserError(f"'{text}' names no attack; write SOURCE:TARGET with two classes, such as 7:1")
    return int(parts[0]), int(parts[1])
