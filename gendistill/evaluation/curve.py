"""A learning curve as it is measured, with the choice among learning rates."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gendistill.data.real import Split
from gendistill.evaluation.ensemble import Ensemble
from gendistill.evaluation.scores import class_sizes, score


class Curve:
    """Accuracies measured so far, and the candidate that they are taken from.

    Args:
        ensemble: The learners.
        seeds: How many seeds it has.
        validation: Chooses among several candidates, by the mean score over the seeds.
        reported: What the curve is about.
        each: Whether every number of updates has a choice of its own; otherwise the last one's holds for all.
        measure: The score that chooses, one of :data:`gendistill.evaluation.scores.MEASURES`.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        seeds: int,
        validation: Split,
        reported: Split,
        *,
        each: bool,
        measure: str = "accuracy",
    ) -> None:
        self.ensemble, self.seeds, self.each = ensemble, seeds, each
        self.count = len(ensemble.candidates)
        self.splits, self.measure_of_choice = (validation, reported), measure
        classes = ensemble.description.num_classes
        self.sizes = [class_sizes(split, classes) for split in self.splits]
        self.validation: list[list[float]] = []
        self.best: list[int] = []
        self.reported: list[dict[int, Tensor]] = []

    def measure(self) -> None:
        """Measure all learners for the selection, and those that may be chosen for the report."""
        places = range(self.count)
        if self.count > 1:
            everyone = range(self.seeds * self.count)
            right = self.ensemble.right_by_class(everyone, self.splits[0])
            scores = score(self.measure_of_choice, right, self.sizes[0]).view(self.seeds, self.count).mean(0)
            self.validation.append(scores.tolist())
            self.best.append(int(scores.argmax()))
        else:
            self.best.append(0)
        wanted = [self.best[-1]] if self.each else list(places)
        members = [seed * self.count + place for place in wanted for seed in range(self.seeds)]
        right = self.ensemble.right_by_class(members, self.splits[1]).unflatten(0, (len(wanted), self.seeds))
        self.reported.append(dict(zip(wanted, right, strict=True)))

    def chosen(self) -> tuple[list[Tensor], list[int]]:
        """Return, by number of updates, right answers by class (S, K) and the candidate that they are taken from."""
        places = self.best if self.each else [self.best[-1]] * len(self.best)
        return [runs[place] for runs, place in zip(self.reported, places, strict=True)], places

    def selection(self) -> dict[str, Any]:
        """Return the candidates' names and, by number of updates, their mean scores on the validation split."""
        return {"candidates": [one.name for one in self.ensemble.candidates], "validation": self.validation}
