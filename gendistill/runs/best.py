"""The best teacher of a run: judged on the validation split now and then, kept with the state that made it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from gendistill.data.real import RealData
from gendistill.declared import require_types
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.evaluate import check_options
from gendistill.evaluation.fidelity import fidelity
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.protocols import expand
from gendistill.files import atomic_write
from gendistill.json_file import Is, Keys, real, text, whole
from gendistill.objects import locate
from gendistill.runs.directory import RunDirectory
from gendistill.teacher import Teacher

MEASURES = ("accuracy", "balanced", "distance")
LEARNING: Mapping[str, Any] = {"updates": [100], "seeds": 2}
"""How learners are trained where nothing is said: few updates, two learners."""
FIDELITY: Mapping[str, Any] = {"draws": 1}

RECORD = Keys(
    optional={
        "metric": Is(text, "the name of a metric"),
        "value": Is(real, "a number"),
        "step": Is(whole, "a number of steps"),
    }
)
"""What a saved state says of the best one."""


@dataclass(frozen=True)
class KeepBest:
    """By what the best teacher of a run is known (``run.keep_best``). The test split has no say in it.

    Args:
        metric: ``accuracy``: of fresh learners on the validation split, after the last number of updates;
            ``balanced``: the mean of the classes' accuracies; ``distance``: the Fréchet distance to validation images,
            of which less is better; or the dotted path of a function of a teacher and real data that returns a number.
            The data that it is given has the validation images in the place of the test images.
        every: Steps between two looks; None: as often as the run is saved. The last step is always looked at.
        higher: Whether more of the metric is better; None: yes, but for the distance.
        learning: Options of :func:`gendistill.evaluation.learning.learning_curve`, ``protocol`` among them, over
            ``{updates: [100], seeds: 2}``. Its ``split`` is always the validation split.
        fidelity: Options of :func:`gendistill.evaluation.fidelity.fidelity`, over ``{draws: 1}``.

    Raises:
        UserError: An option is unknown or out of range.
    """

    metric: str = "accuracy"
    every: int | None = None
    higher: bool | None = None
    learning: dict[str, Any] = field(default_factory=dict)
    fidelity: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise UserError(f"run.keep_best.every is {self.every!r}; give a whole number from 1")
        if self.metric not in MEASURES and "." not in self.metric:
            raise UserError(
                f"run.keep_best.metric is '{self.metric}'; {did_you_mean(self.metric, MEASURES)}choose among "
                f"{', '.join(MEASURES)}, or give the dotted path of a function"
            )
        if "." in self.metric and not callable(locate(self.metric)):
            raise UserError(f"run.keep_best.metric is '{self.metric}', which is no function of a teacher and real data")
        for name, options in (("learning", self.learning), ("fidelity", self.fidelity)):
            for fixed in ("split", "reference"):
                if fixed in options:
                    raise UserError(
                        f"run.keep_best.{name}.{fixed} cannot be chosen: validation images judge; leave it out"
                    )
        check_options(self.learning, self.fidelity)

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> KeepBest | None:
        """Return what a mapping asks for, None where nothing is asked.

        Raises:
            UserError: An option is unknown, or its value of a wrong type.
        """
        if given is None:
            return None
        known = [one.name for one in fields(cls)]
        for name in given:
            if name not in known:
                raise UserError(
                    f"run.keep_best has no option '{name}'; {did_you_mean(str(name), known)}it takes: "
                    f"{', '.join(known)}"
                )
        require_types(cls, given, "run.keep_best")
        return cls(**given)

    @property
    def greater(self) -> bool:
        """Whether more is better."""
        return self.metric != "distance" if self.higher is None else self.higher

    @property
    def tag(self) -> str:
        """Name of the curve, without what it is of: ``accuracy``."""
        return self.metric.rpartition(".")[2]

    def measure(self, teacher: Teacher, data: RealData) -> float:
        """Return the metric of a teacher.

        Args:
            teacher: What was learned so far.
            data: The run's data. Nothing of its test split is looked at.

        Raises:
            UserError: There are no validation images, or the metric is no number.
        """
        if not len(data.validation):
            raise UserError(
                f"'{data.description.name}' has no validation images, by which run.keep_best judges; leave it out"
            )
        # Not even by accident can anything look at the test images.
        unseen = replace(data, test=data.validation)
        if self.metric in ("accuracy", "balanced"):
            options = expand({**LEARNING, **self.learning}, data.description) | {"split": "validation"}
            accuracy = learning_curve(teacher, unseen, **options)["accuracy"]
            found = (accuracy if self.metric == "accuracy" else accuracy["balanced"])["mean"][-1]
        elif self.metric == "distance":
            found = fidelity(teacher, unseen, **({**FIDELITY, **self.fidelity, "reference": "test"}))["value"]
        else:
            found = locate(self.metric)(teacher, unseen)
        try:
            value = float(found)
        except (TypeError, ValueError) as error:
            raise UserError(f"run.keep_best.metric '{self.metric}' gave {found!r}; let it return a number") from error
        if value != value:
            raise UserError(f"run.keep_best.metric '{self.metric}' gave NaN; let it return a number")
        return value


class Best:
    """The best so far.

    Args:
        asked: By what it is known; None: nothing is kept.
        save_every: Steps between two saved states.
    """

    def __init__(self, asked: KeepBest | None, save_every: int) -> None:
        self.asked = asked
        self._every = save_every if asked is None or asked.every is None else asked.every
        self.value: float | None = None
        self.step: int | None = None
        self.improved = False

    def due(self, step: int, *, last: bool) -> bool:
        """Return whether a step is one that is looked at."""
        return self.asked is not None and (last or step % self._every == 0)

    def look(self, step: int, measure: Callable[[KeepBest], float]) -> tuple[str, float]:
        """Judge, and note whether it is the best so far; return the curve's name and the value."""
        assert self.asked is not None
        found = measure(self.asked)
        better = self.value is None or (found > self.value if self.asked.greater else found < self.value)
        if better:
            self.value, self.step = found, step
        self.improved = better
        return self.asked.tag, found

    def state_dict(self) -> dict[str, Any]:
        """Return what is known of the best one; empty where there is none."""
        if self.asked is None or self.value is None:
            return {}
        return {"metric": self.asked.metric, "value": self.value, "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what a state says of the best one; where another metric is asked for, it counts for nothing."""
        if self.asked is not None and state.get("metric") == self.asked.metric:
            self.value, self.step = state["value"], state["step"]

    def keep(self, directory: RunDirectory) -> None:
        """Make the state and the teacher that were just saved the best ones.

        Raises:
            StorageError: They cannot be written; the best ones before are intact.
        """
        copy(directory.teacher, directory.best_teacher)
        copy(directory.state, directory.best_state)
        self.improved = False


def copy(source: Path, target: Path) -> None:
    """Copy a file, completely or not at all.

    Raises:
        StorageError: It cannot be written.
    """

    def write(file: BinaryIO) -> None:
        with open(source, "rb") as original:
            shutil.copyfileobj(original, file)

    atomic_write(target, write)
