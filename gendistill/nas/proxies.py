"""Cheap scores of an architecture: a few steps on a teacher, and the baselines that it must beat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gendistill.data.fingerprint import tensors_fingerprint
from gendistill.data.real import RealData
from gendistill.evaluation.private_teachers import require_public
from gendistill.evaluation.rates import Candidate, Rate, candidates
from gendistill.nas.course import Course, learn, parameter_count
from gendistill.nets.spaces import LearnerSpace
from gendistill.teacher.base import Teacher
from gendistill.teacher.reference import open_teacher

Result = dict[str, Any]
Map = Callable[[Callable[[str], Any], Sequence[str]], list[Any]]
"""Applies a function to every architecture, perhaps on several cores."""

TIME_LIMIT_FACTOR = 8
"""Training limited by time stops after this many times the teacher's updates, however fast it is."""


class Proxy(ABC):
    """A score of architectures; higher means better.

    Args:
        label: What tables call it.
    """

    def __init__(self, label: str) -> None:
        self.label = label

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return plain values; two proxies with the same ones score alike."""

    def prepare(self, pilots: Sequence[str], mapped: Map) -> dict[str, Any]:
        """Choose what has to be chosen before any architecture is scored; return it as plain values."""
        return {}

    @abstractmethod
    def score(self, name: str, before: Mapping[str, Result]) -> Result:
        """Score one architecture.

        Args:
            name: Its name.
            before: Results of the proxies before this one, by label.

        Returns:
            ``score``, ``seconds`` and what else is known.
        """


class ParameterCount(Proxy):
    """The number of parameters."""

    def __init__(self, space: LearnerSpace, data: RealData) -> None:
        super().__init__("parameters")
        self.space, self.data = space, data

    def settings(self) -> dict[str, Any]:
        """Return nothing: the space says it all."""
        return {}

    def score(self, name: str, before: Mapping[str, Result]) -> Result:
        """Build the network and count."""
        return {"score": float(parameter_count(self.space.learner(name), self.data)), "seconds": 0.0}


class ShortTraining(Proxy):
    """Validation accuracy after a few updates on a teacher.

    With the teacher's own rates there is nothing to choose. Otherwise one rate serves all architectures: of those given
    the one with the highest mean validation accuracy on a few pilot architectures, drawn from the same space.

    Args:
        label: What tables call it.
        teacher: What teaches.
        space: Where names come from.
        data: The data set; its validation split scores.
        updates: Updates of a learner.
        batch_size: Images an update, as far as the teacher heeds it.
        lr: Rates to choose among, see :func:`gendistill.evaluation.rates.candidates`.
        seeds: Learners an architecture; their mean is the score.
        device: Where to train.
        as_long_as: Label of an earlier proxy, whose seconds a learner may spend instead of a number of updates.
    """

    def __init__(
        self,
        label: str,
        teacher: Teacher,
        space: LearnerSpace,
        data: RealData,
        *,
        updates: int,
        batch_size: int,
        lr: Rate | Sequence[Rate] | None,
        seeds: int,
        device: torch.device,
        as_long_as: ShortTraining | None = None,
    ) -> None:
        super().__init__(label)
        self.teacher, self.space, self.data = teacher.to(device), space, data.to(device)
        self.updates, self.batch_size, self.seeds, self.device = updates, batch_size, seeds, device
        self.as_long_as = as_long_as
        longest = updates * (TIME_LIMIT_FACTOR if as_long_as else 1)
        self.candidates = candidates(lr, teacher, longest)
        self.chosen: Candidate | None = self.candidates[0] if len(self.candidates) == 1 else None
        self.course = Course(self.teacher, self.data, longest, batch_size)

    def settings(self) -> dict[str, Any]:
        """Return the teacher's fingerprint and every option."""
        return {
            "teacher": tensors_fingerprint(self.teacher.tensors()),
            "kind": type(self.teacher).__name__,
            "updates": self.updates,
            "batch_size": self.batch_size,
            "lr": [candidate.name for candidate in self.candidates],
            "seeds": self.seeds,
            "as_long_as": self.as_long_as.label if self.as_long_as else None,
        }

    def prepare(self, pilots: Sequence[str], mapped: Map) -> dict[str, Any]:
        """Choose the rate on the pilot architectures; see the class's text."""
        if self.chosen is None:

            def score(name: str) -> list[Result]:
                limit = self.as_long_as.score(name, {})["seconds"] if self.as_long_as else None
                return [self._score(name, candidate, limit) for candidate in self.candidates]

            found = mapped(score, pilots)
            means = [sum(one[place]["score"] for one in found) / len(found) for place in range(len(self.candidates))]
            self.chosen = self.candidates[max(range(len(means)), key=means.__getitem__)]
            spent = sum(result["seconds"] for one in found for result in one)
            return {"lr": self.chosen.name, "pilot_accuracy": means, "pilot_seconds": spent}
        return {"lr": self.chosen.name, "pilot_accuracy": None, "pilot_seconds": 0.0}

    def resume(self, choice: Mapping[str, Any]) -> bool:
        """Take an earlier choice of the rate; return whether it is among the candidates."""
        named = {candidate.name: candidate for candidate in self.candidates}
        self.chosen = named.get(choice.get("lr", ""), self.chosen)
        return self.chosen is not None

    def score(self, name: str, before: Mapping[str, Result]) -> Result:
        """Train fresh learners and return their mean validation accuracy."""
        assert self.chosen is not None, "prepare() chooses the rate"
        limit = before[self.as_long_as.label]["seconds"] if self.as_long_as else None
        return self._score(name, self.chosen, limit)

    def _score(self, name: str, candidate: Candidate, seconds: float | None) -> Result:
        share = None if seconds is None else seconds / self.seeds
        lessons = [
            learn(
                self.space.learner(name),
                self.course,
                candidate,
                seed=seed,
                device=self.device,
                splits={"validation": self.data.validation},
                seconds=share,
            )
            for seed in range(self.seeds)
        ]
        runs = [lesson.accuracy["validation"] for lesson in lessons]
        return {
            "score": sum(runs) / len(runs),
            "runs": runs,
            "updates": sum(lesson.updates for lesson in lessons) / len(lessons),
            "seconds": sum(lesson.seconds for lesson in lessons),
        }


def with_baselines(
    label: str,
    teacher: Teacher,
    space: LearnerSpace,
    data: RealData,
    *,
    updates: int,
    batch_size: int,
    lr: Sequence[Rate],
    seeds: int,
    device: torch.device,
    seed: int,
) -> list[Proxy]:
    """Return a teacher's score and its four baselines, all with the same learners and the same updates.

    The baselines are the parameter count, as many updates on all real training data, as much time on them, and as many
    updates on a random real subset of as many images as the teacher shows.

    Args:
        label: What tables call the teacher.
        teacher: What teaches.
        space: Where names come from.
        data: The data set.
        updates: Updates of a learner.
        batch_size: Images an update on real data.
        lr: Rates that are tried where the teacher has none of its own.
        seeds: Learners an architecture.
        device: Where to train.
        seed: Chooses the subset.
    """
    require_public(teacher, "architectures are scored by validation images")
    options: dict[str, Any] = {"updates": updates, "batch_size": batch_size, "seeds": seeds, "device": device}
    own = None if teacher.learning_rates is not None else lr
    main = ShortTraining(label, teacher, space, data, lr=own, **options)
    shown = teacher.distinct_images or updates * batch_size
    subset = f"real:subset={min(shown, len(data.train))}"
    real = open_teacher("real", data)
    return [
        main,
        ParameterCount(space, data),
        ShortTraining("real, as many updates", real, space, data, lr=lr, **options),
        ShortTraining("real, as much time", real, space, data, lr=lr, as_long_as=main, **options),
        ShortTraining(
            f"{subset.replace(':subset=', ', ')} images", open_teacher(subset, data, seed=seed), space, data, lr=lr,
            **options,
        ),
    ]  # fmt: skip
