"""``gendistill replicate``: run an experiment of the literature over several seeds, reported beside measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gendistill.claims import claimed
from gendistill.commands.cluster import HELP as CLUSTER
from gendistill.commands.cluster import OPTIONS, Crew, cluster_of, crew
from gendistill.commands.options import whole_number
from gendistill.commands.output import in_words, result_only, to_json, write_json
from gendistill.commands.replication import (
    Judge,
    Replication,
    Replications,
    beside,
    require_free,
    seeds_of,
    train_side_by_side,
)
from gendistill.config.command_line import Words, take_apart
from gendistill.config.plan import Reported, is_real
from gendistill.errors import UserError
from gendistill.files import require_place
from gendistill.runs.signals import going_on
from gendistill.shipped import config_folder
from gendistill.words import counted

HELP = f"""usage: gendistill replicate ID [--scale NAME] [--seeds N] [--KEY VALUE ...]
       gendistill replicate --list

Run an experiment of the literature over several seeds, judge it by its protocol beside its baselines, and print what
was measured beside what was reported. Every finished part is kept: the same command goes on where it stopped.

options:
  --list              name all replications
  --scale NAME        smoke (seconds), reduced (minutes on two cores), paper (the published settings, for a GPU), or
                      another one that the config has; default: reduced
  --seeds N           number of runs (default: what the config says)
  --jobs N            runs that train at once, each in a process of its own (default: 1): 2 make use of two cores with
                      small networks, and runs can share a GPU
{CLUSTER}
  --root DIR          directory that holds all runs (default: checkpoints); results are in
                      DIR/replication/SCALE/DATASET/ID, runs and evaluations are shared by replications
  --configs DIR       directory with the configs (default: those of the project)
  --output FILE       write the results to this JSON file too
  --json              print one JSON object on stdout, all else on stderr
  --KEY VALUE         any option of gendistill train, for all runs, such as --data.name mnist --data.root DIR"""

KEPT = "finished runs and evaluations are kept; give the same command again to go on"
FILES = ("results.json", "report.html")
OWN = ("--seeds", "--jobs", "--root", "--configs", "--output", "--list", *OPTIONS)


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill replicate``."""
    words = take_apart(argv)
    if "--help" in words.flags:
        print(HELP)
        return 0
    own, known = _own(words)
    as_json = "--json" in words.flags
    if "--list" in own:
        return _list(known, as_json)
    if len(words.positional) != 1 or words.configs or words.trainer:
        raise UserError(
            "gendistill replicate takes the id of one replication, such as bradley-4.1-gan; --list names all of them"
        )
    if output := own.get("--output"):
        require_place(output)
    with result_only(as_json), going_on(lambda: KEPT):
        replication = known.open(words.positional[0])
        results = replicate(replication)
        write_json(results, replication.directory / "results.json")
        if output:
            write_json(results, output)
        from gendistill.report.page import write_report

        report = write_report(results, replication.directory / "report.html", title=f"{replication.name}, replicated")
    if as_json:
        print(to_json(results))
        return 0
    print(in_words(results, text))
    print(f"\nresults  {replication.directory / 'results.json'}\nreport   {report}")
    return 0


def replicate(replication: Replication, workers: Crew | None = None) -> dict[str, Any]:
    """Run, or finish, one replication.

    Args:
        replication: Which one, and how.
        workers: Those of a cluster that are met already; None: as the replication says.

    Returns:
        Plain values that ``report`` reads too: ``id``, ``scale``, ``dataset``, ``seeds``, ``teachers`` (results of the
        evaluators, pooled over seeds), ``columns``, ``replicated`` (for each of them ``name``, ``accuracy`` and
        ``fidelity`` at the end with ``mean``, ``std`` and ``runs``, the latter with ``n`` images each, and
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
    named: list[tuple[str, Reported | None, Sequence[dict[str, Any]]]] = [(of, replication.reported, runs)]
    found_beside = beside(replication, shown, len(judge.data.train))
    if workers is not None:
        do_away(workers, [(judge, [other for _, other in found_beside])])
    for name, other in found_beside:
        said = other.reported if isinstance(other, Replication) else None
        named.append((name, said, seeds_of(judge, other)))
    teachers = [pooled(found) | {"name": name} for name, _, found in named]
    # The table shows the numbers of updates that were asked for and every end; ends of epochs are for the figures.
    ends = {one["learning"]["updates"][-1] for one in teachers if one["learning"]}
    asked = expand(replication.plan.learning or {}, judge.data.description).get("updates", ())
    return {
        "id": replication.name,
        "scale": replication.of.scale,
        "dataset": judge.data.description.name,
        "seeds": list(judge.seeds),
        "teachers": teachers,
        "columns": sorted({*asked, *ends}),
        "replicated": [_row(result, said) for result, (_, said, _) in zip(teachers, named, strict=True)],
        "notes": _notes(replication, judge),
    }


def text(results: Mapping[str, Any]) -> str:
    """Return results as a table of accuracies, and one of what was reported beside what was measured."""
    from gendistill.report.terminal import aligned, text_table

    lines = [["teacher", "accuracy %", "reported", "distance", "reported FID"]]
    for row in results["replicated"]:
        said = row["reported"] or {}
        fidelity = row["fidelity"]
        lines.append(
            [
                row["name"],
                _pair(row["accuracy"], 100),
                _number(said.get("accuracy"), 100),
                _distance(fidelity) if fidelity else "–",
                _number(said.get("fid"), 1),
            ]
        )
    runs = counted(len(results["seeds"]), "run")
    where = f"{results['id']}, scale {results['scale']}, {results['dataset']}, {runs}"
    return "\n".join([text_table(results), "", where, *aligned(lines)])


def _own(words: Words) -> tuple[dict[str, str | None], Replications]:
    """Take this command's own options out of the words."""
    own = {option: value for option, value in words.overrides if option in OWN}
    for option, value in own.items():
        if value is None and option != "--list":
            raise UserError(f"{option} needs a value")
    require_free((option for option, _ in words.overrides if option not in OWN), "replicate")
    return own, Replications(
        configs=Path(own.get("--configs") or config_folder("replication")),
        scale=words.scale or "reduced",
        root=Path(own.get("--root") or "checkpoints"),
        overrides=[(option, value) for option, value in words.overrides if option not in OWN],
        seeds=whole_number(own, "--seeds"),
        jobs=(jobs := whole_number(own, "--jobs")) or 1,
        cluster=cluster_of(own, jobs),
    )


def _list(known: Replications, as_json: bool) -> int:
    known = replace(known, scale=None)
    found = {name: known.open(name).reported for name in known.ids()}
    if as_json:
        print(to_json({"replications": {name: said and asdict(said) for name, said in found.items()}}))
        return 0
    width = max(map(len, found), default=0)
    for name, said in found.items():
        print(f"{name:<{width}}  {_sentence(said) if said else ''}".rstrip())
    return 0


def _row(result: Mapping[str, Any], said: Reported | None) -> dict[str, Any]:
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
        "reported": asdict(said) if said else None,
    }


def _notes(replication: Replication, judge: Judge) -> list[str]:
    several = "; ± is the standard deviation over runs" if len(judge.seeds) > 1 else ""
    notes = [f"{counted(len(judge.seeds), 'run')}{several}."]
    if replication.reported is not None:
        notes.append(f"Reported ({replication.reported.source}): {_sentence(replication.reported)}.")
    if replication.of.scale != "paper":
        notes.append(f"Scale '{replication.of.scale}' is not that of the source: its numbers are shown, not matched.")
    return notes


def _sentence(said: Reported) -> str:
    parts = [] if said.accuracy is None else [f"accuracy {100 * said.accuracy:.2f} %"]
    parts += [] if said.fid is None else [f"FID {said.fid:g}"]
    parts += [] if said.claim is None else [said.claim]
    return "; ".join(parts)


def _pair(value: Mapping[str, Any] | None, factor: float) -> str:
    if value is None or value["mean"] is None:
        return "–"
    spread = "" if value["std"] is None else f" ± {factor * value['std']:.2f}"
    return f"{factor * value['mean']:.2f}{spread}"


def _distance(fidelity: Mapping[str, Any]) -> str:
    """Return a distance with what it is of: those of different numbers of images cannot be compared."""
    images = "" if fidelity.get("n") is None else f", n={fidelity['n']:,}"
    return f"{_pair(fidelity, 1)} ({fidelity['name']}{images})"


def _number(value: float | None, factor: float) -> str:
    return "–" if value is None else f"{factor * value:.2f}"
