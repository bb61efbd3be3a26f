"""``gendistill sweep`` over several options: a grid, or trials that Optuna proposes, chosen by validation accuracy."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gendistill.claims import claimed
from gendistill.commands.cluster import Crew, crew
from gendistill.commands.output import write_json
from gendistill.commands.replicated import replicate
from gendistill.commands.search_space import Axis, axes, grid
from gendistill.commands.trials import COMPLETE, STOPPED, Race, Trial
from gendistill.errors import UserError, did_you_mean
from gendistill.words import counted

SEARCHES = ("grid", "optuna")
FILES = ("search.json", "search.html", "parallel.png", "optuna.log")
TRIALS = 20
RUNGS = "0.25,0.5,1"


@dataclass
class Search:
    """A search as it was asked for.

    Attributes:
        race: How trials are made and judged.
        axes: The options and their values.
        how: ``grid`` or ``optuna``.
        trials: How many trials Optuna proposes in all.
    """

    race: Race
    axes: Sequence[Axis]
    how: str = "grid"
    trials: int = TRIALS

    @property
    def directory(self) -> Path:
        """Where its results are."""
        return self.race.replication(self.first()).directory.parent

    def first(self) -> dict[str, str]:
        """Return some values, to see whether the config takes them."""
        return {one.option: one.values[0] if one.values else _end(one.low, one.whole) for one in self.axes}

    def last(self) -> dict[str, str]:
        """Return other values, the last of each option."""
        return {one.option: one.values[-1] if one.values else _end(one.high, one.whole) for one in self.axes}


def _end(value: float, whole: bool) -> str:
    return str(int(value)) if whole else format(value, ".6g")


def asked(race: Race, over: Sequence[str], own: Mapping[str, str]) -> Search:
    """Return the search that the command's options ask for.

    Raises:
        UserError: An option is out of range, or Optuna is not installed.
    """
    how = own.get("--search", "grid")
    if how not in SEARCHES:
        raise UserError(f"--search is '{how}'; {did_you_mean(how, SEARCHES)}choose among: {', '.join(SEARCHES)}")
    if how == "optuna" and importlib.util.find_spec("optuna") is None:
        raise UserError("--search optuna needs Optuna, which is not installed; run pip install 'gendistill[sweep]'")
    trials = own.get("--trials", str(TRIALS))
    if not (trials.isascii() and trials.isdigit() and int(trials) > 0):
        raise UserError(f"--trials is '{trials}'; give the number of trials, at least 1")
    if how == "grid" and "--trials" in own:
        raise UserError("--trials is for --search optuna; a grid has one trial for each combination of values")
    race.rungs = rungs(own.get("--rungs", RUNGS))
    return Search(race, axes(over), how, int(trials))


def rungs(text: str) -> list[float]:
    """Read ``--rungs``.

    Raises:
        UserError: It is no list of ascending parts that ends with 1.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or found != sorted(set(found)) or not (found[0] > 0 and found[-1] == 1):
        raise UserError(f"--rungs is '{text}'; give ascending parts of a run's length up to 1, such as {RUNGS}; 1: no "
                        "trial is stopped early")  # fmt: skip
    return found


def search(given: Search) -> dict[str, Any]:
    """Make, or finish, a search.

    Args:
        given: Which one.

    Returns:
        Plain values: ``config``, ``scale``, ``dataset``, ``search``, ``split`` (that chose: validation), ``options``,
        ``seeds``, ``trials`` (each with ``values``, ``state``, ``rungs`` and ``accuracy``, the mean over seeds),
        ``best`` (its number), and ``test``: what :func:`gendistill.commands.replicated.replicate` says of the best one,
        ``id`` to ``replicated`` without the results themselves.

    Raises:
        UserError: A config, a value, the data or an earlier run does not fit, or another process does the same here.
        PlaceError: Nothing can be written there.
    """
    race = given.race
    planned = grid(given.axes) if given.how == "grid" else [given.first(), given.last()]
    # All are built before the first is trained: a value that is out of range shall not be found out after hours.
    experiments = [race.replication(values).experiment(0) for values in planned]
    if any(one.data != experiments[0].data for one in experiments):
        raise UserError(
            "--over names an option of the data, and trials are compared on the same images; sweep over it alone, "
            "without --search, or search once for each value of it"
        )
    trainers = [one.build_trainer() for one in experiments]
    data = experiments[0].load_data()
    if trainers[0].known_of(data) is not data:
        raise UserError(
            "this method keeps the training images private, and validation images are, too: choosing options by them "
            "would cost budget that nobody counts; search on public images that look alike"
        )
    if not len(data.validation):
        raise UserError(f"'{data.description.name}' has no validation images, by which trials are chosen")
    with claimed(given.directory, "sweeping", "choose another --root", FILES):
        with crew(race.known.cluster) as workers:
            if given.how == "grid":
                trials = [Trial(number, dict(values)) for number, values in enumerate(planned)]
                race.run(trials, [], data, workers)
            else:
                trials = _optuna(given, data, workers)
            finished = [trial for trial in trials if trial.state == COMPLETE]
            if not finished:
                raise UserError(
                    f"all {counted(len(trials), 'trial')} known were stopped early, and none is left to choose; give "
                    "more --trials, or --rungs 1, which stops none"
                )
            best = max(finished, key=lambda trial: (trial.score or 0.0, -trial.number))
            # The test images are looked at once, for the one that was chosen.
            tested = replicate(race.replication(best.values), workers)
            race.show(best, data)
        seeds = tested["seeds"]
        results = {
            "config": str(race.path),
            "scale": race.known.scale,
            "dataset": tested["dataset"],
            "search": given.how,
            "split": "validation",
            "options": [axis.option for axis in given.axes],
            "seeds": seeds,
            "rungs": list(race.rungs),
            "trials": [trial.plain() for trial in trials],
            "best": best.number,
            "test": {key: tested[key] for key in ("id", "seeds", "replicated")},
        }
        write_results(results, given.directory)
    return results


def write_results(results: Mapping[str, Any], folder: Path) -> None:
    """Write ``search.json``, its page and its figure."""
    from gendistill.report.parallel import write_parallel, write_search_page

    write_json(results, folder / "search.json")
    write_parallel(results, folder / "parallel.png")
    write_search_page(results, folder / "search.html")


def _optuna(given: Search, data: Any, workers: Crew | None) -> list[Trial]:
    """Let Optuna propose trials, as many at once as there are jobs or threads of workers; ``optuna.log`` has them.

    Started again it finds its trials there; the values of those that were in the race are tried again first. What it
    proposes depends on the trials that it knows alone.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    from gendistill.seeds import derive_seed

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = given.directory / "optuna.log"
    # Trials of other settings, seeds or data are those of another study.
    name = f"{'; '.join(map(repr, given.axes))} {given.race.digest(given.first(), data)}"
    try:
        storage = JournalStorage(JournalFileBackend(str(place)))
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise UserError(
            f"'{place}', where Optuna keeps its trials, is damaged; move it away, and the same command searches anew "
            "from the runs and evaluations that are kept"
        ) from error
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        if left.state == TrialState.RUNNING:
            study.tell(left.number, state=TrialState.FAIL)
            study.enqueue_trial(left.params)
    seen = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    known = [trial for one in seen if (trial := remembered(one.user_attrs.get("trial"), given.axes)) is not None]
    known = [replace(trial, number=number) for number, trial in enumerate(known)]
    together = given.race.known.jobs if workers is None else workers.slots()
    while len(known) < given.trials:
        told = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
        study.sampler = optuna.samplers.TPESampler(seed=derive_seed(told, "sweep/optuna") % 2**32, constant_liar=True)
        batch: list[tuple[Any, Trial]] = []
        for _ in range(min(together, given.trials - len(known))):
            proposed = study.ask()
            values = {axis.option: axis.suggest(proposed) for axis in given.axes}
            batch.append((proposed, Trial(len(known) + len(batch), values)))
        given.race.run([trial for _, trial in batch], known, data, workers)
        for proposed, trial in batch:
            for steps, accuracy in trial.rungs.items():
                proposed.report(accuracy, steps)
            proposed.set_user_attr("trial", trial.plain())
            if trial.state == STOPPED:
                study.tell(proposed, state=TrialState.PRUNED)  # its value is the last that was reported
            else:
                study.tell(proposed, trial.score)
            said = f"trial {trial.number}: {', '.join(f'{key}={value}' for key, value in trial.values.items())}"
            print(f"{said}: {100 * (trial.score or 0):.2f} % ({trial.state})", file=sys.stderr)
        known += [trial for _, trial in batch]
    return known[: given.trials]


def remembered(noted: Any, found: Sequence[Axis]) -> Trial | None:
    """Return a trial as Optuna's file has it; None where it is none of this search."""
    from gendistill.json_file import JsonError, check
    from gendistill.report.parallel import TRIAL

    try:
        check(noted, TRIAL, "a trial")
    except JsonError:
        return None
    if set(noted["values"]) != {one.option for one in found}:
        return None
    reached = {int(rung["steps"]): float(rung["accuracy"]) for rung in noted["rungs"]}
    runs = [float(value) for value in noted.get("runs") or []]
    return Trial(int(noted["number"]), dict(noted["values"]), reached, runs, noted["state"], noted.get("cpu_seconds"))


def text(results: Mapping[str, Any]) -> str:
    """Return results as a table of trials, the best first, and what the best one reaches on test images."""
    from gendistill.report.parallel import trial_cells
    from gendistill.report.terminal import aligned

    row = results["test"]["replicated"][0]["accuracy"] or {}
    stopped = sum(trial["state"] == STOPPED for trial in results["trials"])
    spread = "" if row.get("std") is None else f" ± {100 * row['std']:.2f}"
    reached = "–" if row.get("mean") is None else f"{100 * row['mean']:.2f}{spread} %"
    runs = counted(len(results["seeds"]), "run")
    return "\n".join(
        [
            f"validation accuracy in %, mean of {runs}, {results['dataset']}; {counted(stopped, 'trial')} of "
            f"{len(results['trials'])} stopped early",
            "",
            *aligned(trial_cells(results)),
            "",
            f"Chosen by validation accuracy: trial {results['best']}. Its test accuracy, looked at once: {reached}.",
        ]
    )
