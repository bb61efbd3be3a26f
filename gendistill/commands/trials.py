"""Trials of a search: values of a config's options, trained in rungs, judged on the validation split, stopped early.

A rung is a part of a run's length. After each of them every trial still in the race is judged; one whose accuracy is
below the median of all trials that were judged there is stopped (Golovin et al. 2017, the median rule). A run that goes
on has the schedules of its whole length throughout, and every finished part is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.cluster import Crew
from gendistill.commands.part import going_on_in, judged, require_made
from gendistill.commands.replication import Judge, Replication, Replications, train_side_by_side
from gendistill.config.plan import RUN
from gendistill.errors import UserError
from gendistill.plain import plain

if TYPE_CHECKING:
    from gendistill.data.real import RealData

UNTIL = "gendistill.runs.until.Until"
COMPLETE, STOPPED = "complete", "stopped"
FEWEST = 4
"""Trials that a median is taken of, at least: fewer say nothing of what is hopeless."""


@dataclass
class Trial:
    """Values of the options that are searched, and what came of them.

    Attributes:
        number: From 0.
        values: By option, as text.
        rungs: Validation accuracy by number of steps.
        runs: At the last of them, one a seed.
        state: ``complete``, ``stopped``, or empty while it is in the race.
        cpu_seconds: Of making its runs so far; None: not counted.
    """

    number: int
    values: dict[str, str]
    rungs: dict[int, float] = field(default_factory=dict)
    runs: list[float] = field(default_factory=list)
    state: str = ""
    cpu_seconds: float | None = None

    @property
    def score(self) -> float | None:
        """The accuracy at its last rung."""
        return self.rungs[max(self.rungs)] if self.rungs else None

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "number": self.number,
            "values": self.values,
            "state": self.state,
            "rungs": [{"steps": steps, "accuracy": value} for steps, value in sorted(self.rungs.items())],
            "accuracy": self.score,
            "runs": self.runs,
            "cpu_seconds": self.cpu_seconds,
        }


@dataclass
class Race:
    """How trials are made and judged.

    Attributes:
        path: The config.
        name: What the folder of the search is called.
        known: How every run is made; a trial's values are added to its overrides.
        rungs: Parts of the length after which trials are judged, ascending, the last 1.
    """

    path: Path
    name: str
    known: Replications
    rungs: Sequence[float] = (0.25, 0.5, 1.0)

    def replication(self, values: Mapping[str, str]) -> Replication:
        """Return the experiment of a trial, judged as its config says.

        Raises:
            UserError: The config does not take a value.
        """
        given = [(f"--{option}", value) for option, value in values.items()]
        one = replace(self.known, overrides=[*self.known.overrides, *given]).open(self.path.stem)
        if one.plan.learning is None:
            raise UserError(f"{self.path}: a search needs a measure; evaluation.learning is null")
        if one.plan.teacher != RUN:
            raise UserError(
                f"{self.path}: a search makes its teachers itself; evaluation.teacher is '{one.plan.teacher}'"
            )
        return replace(one, name=f"{self.name}/{folder_of(values)}")

    def on_validation(self, values: Mapping[str, str], until: int | None = None) -> Replication:
        """Return the experiment of a trial, judged on the validation split alone: no test image has a say.

        Args:
            values: Of the trial.
            until: The step at which its runs end; None: the last.
        """
        one = self.replication(values)
        learning = {**(one.plan.learning or {}), "split": "validation"}
        plan = replace(one.plan, learning=learning, learners=[], fidelity=None, further={}, beside={}, sized={})
        if until is None:
            return replace(one, plan=plan)
        ends = {"class_path": UNTIL, "init_args": {"step": until}}
        callbacks = [*(one.experiment(0).options.callbacks or ()), ends]
        return replace(one, plan=plan, own=[*one.own, ("--run.callbacks", json.dumps(plain(callbacks)))])

    def digest(self, values: Mapping[str, str], data: RealData) -> str:
        """Return what tells searches of other settings, seeds, rungs or data apart.

        Args:
            values: Of any trial, the same at each call.
            data: The real data.
        """
        judge = Judge(self.on_validation(values), data)
        parts = [judge.part(judge.replication, seed) for seed in judge.seeds]
        what = [[part.what for part in parts], parts[0].data, list(self.rungs)]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def steps(self, values: Mapping[str, str]) -> list[int]:
        """Return the steps of the rungs."""
        total = int(self.replication(values).experiment(0).options.steps)
        return sorted({max(1, round(part * total)) for part in self.rungs})

    def run(self, trials: Sequence[Trial], others: Sequence[Trial], data: RealData, crew: Crew | None = None) -> None:
        """Train and judge trials rung by rung, and stop those that are hopeless.

        Args:
            trials: Those of this call; they race side by side.
            others: Trials that were run before, which the median is taken of, too.
            data: The real data.
            crew: Workers of a cluster; None: it is done here.
        """
        ladders = {one.number: self.steps(one.values) for one in trials}
        for rung in range(max(map(len, ladders.values()), default=0)):
            racing = [one for one in trials if not one.state]
            last = {one.number: rung == len(ladders[one.number]) - 1 for one in racing}
            parts = [
                (one, self.on_validation(one.values, None if last[one.number] else ladders[one.number][rung]))
                for one in racing
            ]
            steps = [ladders[one.number][rung] for one in racing]
            # What is further than that already cost what stopping it would save.
            measured = [
                (part, count)
                for part, count in zip(parts, steps, strict=True)
                if last[part[0].number] or not beyond(Judge(part[1], data), count)
            ]
            self._measure([part for part, _ in measured], [count for _, count in measured], data, crew)
            for one in racing:
                one.state = COMPLETE if last[one.number] else ""
            for one in hopeless([one for one in racing if not one.state], [*others, *trials], ladders, rung):
                one.state = STOPPED

    def _measure(
        self, parts: Sequence[tuple[Trial, Replication]], steps: Sequence[int], data: RealData, crew: Crew | None
    ) -> None:
        if crew is not None:
            from gendistill.commands.away import do_away

            away = [(Judge(replication, data), [replication]) for _, replication in parts]
            do_away(crew, away, dict(until_of(parts, steps)))
        elif self.known.jobs > 1 and parts:
            train_side_by_side(Judge(parts[0][1], data), [one for _, one in parts], until=dict(until_of(parts, steps)))
        for (trial, replication), count in zip(parts, steps, strict=True):
            judge = Judge(replication, data)
            found = [self._result(judge, replication, seed, count) for seed in judge.seeds]
            trial.runs = [float(one["learning"]["accuracy"]["mean"][-1]) for one in found]
            trial.rungs[count] = statistics.fmean(trial.runs)
            made = [(one.get("cpu_seconds") or {}).get("making") for one in found]
            counted = [float(seconds) for seconds in made if seconds is not None]
            trial.cpu_seconds = sum(counted) if len(counted) == len(made) else None

    def show(self, trial: Trial, data: RealData) -> None:
        """Let TensorBoard compare a trial by what it was chosen by, whatever was measured of its runs afterwards."""
        replication = self.on_validation(trial.values)
        judge = Judge(replication, data)
        for seed in judge.seeds:
            part = judge.part(replication, seed)
            if (known := part.known(said=False)) is not None:
                part.show(known)

    def _result(self, judge: Judge, replication: Replication, seed: int, count: int) -> dict[str, Any]:
        """Train a run to a rung unless it is there, and judge it unless that is kept."""
        from gendistill.commands.train import run_experiment
        from gendistill.runs.checkpoint import noted_step
        from gendistill.runs.directory import RunDirectory
        from gendistill.teacher import open_teacher

        part = judge.part(replication, seed)
        if (known := part.known(said=False)) is not None:
            return known
        assert part.experiment is not None
        options = part.experiment.options
        directory = RunDirectory(options.root, options.name)
        if options.fresh or not directory.has_state or noted_step(directory.state) < count:
            if replication.start is not None:
                run_experiment(replication.start.experiment(seed))
            run_experiment(part.experiment, data=judge.data)
        require_made(part.experiment)
        teacher = open_teacher(part.reference, judge.data, seed=seed)
        with going_on_in(part.file):
            return part.keep(judged(part.job | {"progress": False}, teacher, judge.data))


def beyond(judge: Judge, count: int) -> bool:
    """Return whether a run of a trial is past a step and was not judged there: its teacher is a later one."""
    from gendistill.runs.checkpoint import noted_step
    from gendistill.runs.directory import RunDirectory

    for seed in judge.seeds:
        part = judge.part(judge.replication, seed)
        assert part.experiment is not None
        options = part.experiment.options
        if noted_step(RunDirectory(options.root, options.name).state) > count and part.known(said=False) is None:
            return True
    return False


def until_of(parts: Sequence[tuple[Trial, Replication]], steps: Sequence[int]) -> list[tuple[str, int]]:
    """Return by the name of each replication the step at which its runs end."""
    return [(replication.name, count) for (_, replication), count in zip(parts, steps, strict=True)]


def hopeless(
    racing: Sequence[Trial], everybody: Sequence[Trial], ladders: Mapping[int, Sequence[int]], rung: int
) -> list[Trial]:
    """Return the trials whose accuracy at a rung is below the median of all that were judged after as many steps.

    Args:
        racing: Those that are in the race.
        everybody: All trials, those that were stopped among them.
        ladders: Steps of the rungs by trial's number.
        rung: Which one.
    """
    found = []
    for one in racing:
        steps = ladders[one.number][rung]
        reached = [other.rungs[steps] for other in everybody if steps in other.rungs]
        if steps in one.rungs and len(reached) >= FEWEST and one.rungs[steps] < statistics.median(reached):
            found.append(one)
    return found


def folder_of(values: Mapping[str, str]) -> str:
    """Return the folder of a trial: its values by the last part of each option's name, where they fit into a name."""
    text = ",".join(f"{option.rpartition('.')[2]}={value}" for option, value in values.items())
    return as_folder(text, repr(sorted(values.items())))


def as_folder(text: str, whole: str) -> str:
    """Return text as the name of a folder: as it is where it may be one, else with what tells it from others.

    Args:
        text: What to call it.
        whole: All that it stands for.
    """
    plain = re.sub(r"[^\w=,.+:-]", "-", text)
    if plain == text and len(text) <= 80 and text.strip("."):
        return text
    return f"{plain[:70]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
