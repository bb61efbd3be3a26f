"""Running one replication: its runs and what stands beside them, judged and put side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gendistill.claims import claimed
from gendistill.commands.cluster import Crew, crew
from gendistill.commands.output import write_json
from gendistill.commands.replication import PLACED, Judge, Replication, beside, seeds_of, train_side_by_side
from gendistill.config.plan import Reported, is_real
from gendistill.words import counted

FILES = ("results.json", "report.html")
SAME_NUMBERS = (
    "data.root", "data.name", "run.threads", "run.tune", "run.compile", "run.loggers", "run.evaluate_every",
    "run.evaluate_samples",
)  # fmt: skip
"""Options beside :data:`PLACED` that a config's numbers are the same with; the name of the data stands in results."""


def write_replicated(results: Mapping[str, Any], replication: Replication) -> Path:
    """Write what :func:`replicate` returned into the replication's folder with its report; return the report's file."""
    from gendistill.report.page import write_report

    write_json(results, replication.directory / "results.json")
    return write_report(results, replication.directory / "report.html", title=f"{replication.name}, replicated")


def replicate(replication: Replication, workers: Crew | None = None) -> dict[str, Any]:
    """Run, or finish, one replication.

    Args:
        replication: Which one, and how.
        workers: Those of a cluster that are met already; None: as the replication says.

    Returns:
        Plain values that ``report`` reads too: ``id``, ``scale``, ``dataset``, ``seeds``, ``options`` (those
        that were typed and change what the config says), ``teachers`` (results of the
        evaluators, pooled over seeds), ``columns``, ``replicated`` (for each of them ``name``, ``id`` where it is the
        replication of that id, judged as that one's config says, ``accuracy`` and
        ``fidelity`` at the end with ``mean``, ``std`` and ``runs``, the latter with ``n`` images each,
        ``further`` measures, ``cpu_seconds`` of making and judging all its runs (None: not counted), and
        ``reported``), ``notes``.

    Raises:
        UserError: A config, the data or an earlier run does not fit, or another process does the same in this place.
        PlaceError: Nothing can be written there.
    """
    judge = Judge(replication, replication.experiment(0).load_data())
    with claimed(replication.directory, "replicating", "choose another --root", FILES):
        if workers is not None:
            return _replicate(replication, judge, workers)
        with crew(replication.of.cluster) as met:
            return _replicate(replication, judge, met)


def trained_beside(replication: Replication) -> list[Replication | str]:
    """Return what is judged of a replication that can be said before anything is trained: itself first."""
    return [replication, *(other for _, other in beside(replication, None, 0))]


def _replicate(replication: Replication, judge: Judge, workers: Crew | None) -> dict[str, Any]:
    from gendistill.evaluation.pooled import pooled
    from gendistill.evaluation.protocols import expand

    of = replication.plan.teacher if is_real(replication.plan.teacher) else replication.name
    if workers is not None:
        from gendistill.commands.away import do_away

        do_away(workers, [(judge, trained_beside(replication))])
    elif replication.of.jobs > 1:
        others = [other for _, other in beside(replication, None, 0) if isinstance(other, Replication)]
        train_side_by_side(judge, [replication, *others])
    runs = seeds_of(judge, replication)
    shown = (runs[0]["learning"] or {}).get("epoch", runs[0]["teacher"])["images"]
    named: list[tuple[str, Replication | None, Sequence[dict[str, Any]]]] = [(of, replication, runs)]
    found_beside = beside(replication, shown, len(judge.data.train))
    if workers is not None:
        do_away(workers, [(judge, [other for _, other in found_beside])])
    for name, other in found_beside:
        named.append((name, other if isinstance(other, Replication) else None, seeds_of(judge, other)))
    teachers = [pooled(found) | {"name": name} for name, _, found in named]
    # The table shows the numbers of updates that were asked for and every end; ends of epochs are for the figures.
    ends = {one["learning"]["updates"][-1] for one in teachers if one["learning"]}
    asked = expand(replication.plan.learning or {}, judge.data.description).get("updates", ())
    return {
        "id": replication.name,
        "scale": replication.of.scale,
        "dataset": judge.data.description.name,
        "seeds": list(judge.seeds),
        "options": _options(replication),
        "teachers": teachers,
        "columns": sorted({*asked, *ends}),
        "replicated": [
            _row(result, one.reported if one else None, found)
            | ({"id": one.name} if one and _judged_alike(one, replication) else {})
            for result, (_, one, found) in zip(teachers, named, strict=True)
        ],
        "notes": _notes(replication, judge),
    }


def _judged_alike(one: Replication, table: Replication) -> bool:
    """Return whether a table judges a row as the row's own config says, so that it is measured with the table."""
    parts = ("learning", "learners", "fidelity", "further")
    return not one.own and all(getattr(one.plan, part) == getattr(table.plan, part) for part in parts)


def _row(result: Mapping[str, Any], said: Reported | None, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    learning, fidelity = result["learning"], result["fidelity"]
    last = {key: learning["accuracy"][key][-1] for key in ("mean", "std", "runs")} if learning else None
    measured = (
        {key: fidelity.get(key) for key in ("name", "n", "reference", "std", "runs")} | {"mean": fidelity["value"]}
        if fidelity
        else None
    )
    return {
        "name": result["name"],
        "accuracy": last,
        "fidelity": measured,
        "further": {name: _spread([one["further"][name] for one in runs]) for name in runs[0].get("further") or {}},
        "cpu_seconds": _cpu(runs),
        "reported": asdict(said) if said else None,
    }


def _spread(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    std = statistics.stdev(known) if len(known) > 1 else None
    return {"mean": statistics.fmean(known) if known else None, "std": std, "runs": list(values)}


def _cpu(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the CPU seconds of making and judging all runs; None where a part of them was not counted."""
    counted_parts = [one.get("cpu_seconds") or {} for one in runs]
    made = [
        one.get("seconds") is None or part.get("making") is not None
        for one, part in zip(runs, counted_parts, strict=True)
    ]
    if not all(made) or any("judging" not in part for part in counted_parts):
        return None
    return sum((part.get("making") or 0.0) + part["judging"] for part in counted_parts)


def _options(replication: Replication) -> list[str]:
    """Return the options that were typed for all runs, but for those that say where they are or how fast they go."""
    typed = [(option.lstrip("-").replace("-", "_"), value) for option, value in replication.of.overrides]
    return [
        f"--{option}" if value is None else f"--{option}={value}"
        for option, value in typed
        if option not in SAME_NUMBERS and option.removeprefix("run.") not in PLACED
    ]


def _notes(replication: Replication, judge: Judge) -> list[str]:
    several = "; ± is the standard deviation over runs" if len(judge.seeds) > 1 else ""
    notes = [f"{counted(len(judge.seeds), 'run')}{several}."]
    if replication.reported is not None:
        notes.append(f"Reported ({replication.reported.source}): {sentence(replication.reported) or 'nothing'}.")
    if replication.of.scale != "paper":
        notes.append(f"Scale '{replication.of.scale}' is not that of the source: its numbers are shown, not matched.")
    return notes


def sentence(said: Reported) -> str:
    """Return what a source says in one line: numbers first."""
    parts = [] if said.accuracy is None else [f"accuracy {100 * said.accuracy:.2f} %"]
    parts += [] if said.fid is None else [f"FID {said.fid:g}"]
    parts += [f"{name} {value:g}" for name, value in said.scores.items()]
    parts += [] if said.claim is None else [said.claim]
    return "; ".join(parts)


def spread(value: Mapping[str, Any] | None, factor: float, digits: int = 2) -> str:
    """Return a mean with its standard deviation, both times a factor."""
    if value is None or value.get("mean") is None:
        return "–"
    std = "" if value.get("std") is None else f" ± {factor * value['std']:.{digits}f}"
    return f"{factor * value['mean']:.{digits}f}{std}"
