"""``gendistill replicate``: run an experiment of the literature over several seeds, reported beside measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.commands.cluster import HELP as CLUSTER
from gendistill.commands.cluster import OPTIONS, cluster_of
from gendistill.commands.options import whole_number
from gendistill.commands.output import in_words, result_only, to_json, write_json
from gendistill.commands.replicated import replicate, spread, write_replicated
from gendistill.commands.replication import Replications, require_free
from gendistill.config.command_line import Words, take_apart
from gendistill.errors import UserError
from gendistill.files import require_place
from gendistill.runs.signals import going_on
from gendistill.shipped import config_folder
from gendistill.words import counted

HELP = f"""usage: gendistill replicate ID [--scale NAME] [--seeds N] [--KEY VALUE ...]
       gendistill replicate --all [PATTERN ...] [--scale NAME] [--KEY VALUE ...]
       gendistill replicate --list [PATTERN ...]
       gendistill replicate --summary [FILE] [PATTERN ...]

Run an experiment of the literature over several seeds, judge it by its protocol beside its baselines, and print what
was measured beside what was reported. Every finished part is kept: the same command goes on where it stopped.

options:
  --list              name all replications by source and table: reported, measured below --root, status, and what is
                      missing to run them as published; PATTERN, such as 'dd-*', names some
  --all               run all, one after the other, and end with that list; finished parts are kept
  --summary [FILE]    write a page of what was measured below --root (default: docs/results.md), and beside it, as
                      .json, the record of its numbers: what earlier machines measured stays on the page
  --scale NAME        smoke (seconds), reduced (minutes on two cores), paper (the published settings, for a GPU), or
                      another one that the config has; default: reduced
  --seeds N           number of runs (default: what the config says)
  --jobs N            runs that train at once, each in a process of its own (default: 1): 2 make use of two cores with
                      small networks, and runs can share a GPU
{CLUSTER}
  --root DIR          directory that holds all runs (default: checkpoints); results are in
                      DIR/replication/SCALE/DATASET/ID, runs and evaluations are shared by replications; several for
                      --list and --summary, which take of each row what is nearest to its source
  --configs DIR       directory with the configs (default: those of the project)
  --output FILE       write the results to this JSON file too
  --json              print one JSON object on stdout, all else on stderr
  --KEY VALUE         any option of gendistill train, for all runs, such as --data.name mnist --data.root DIR"""

KEPT = "finished runs and evaluations are kept; give the same command again to go on"
OWN = ("--seeds", "--jobs", "--root", "--configs", "--output", "--summary", *OPTIONS)


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill replicate``."""
    words = take_apart(argv, flags=("--list", "--all"))
    if "--help" in words.flags:
        print(HELP)
        return 0
    own, known = _own(words)
    as_json = "--json" in words.flags
    for option, called in (("--list", listed), ("--all", all_of_them), ("--summary", summary)):
        if option in own or option in words.flags:
            return called(known, words, own, as_json)
    if len(words.positional) != 1 or words.configs or words.trainer:
        raise UserError(
            "gendistill replicate takes the id of one replication, such as bradley-4.1-gan; --list names all of them"
        )
    if output := own.get("--output"):
        require_place(output)
    with result_only(as_json), going_on(lambda: KEPT):
        replication = known.open(words.positional[0])
        results = replicate(replication)
        report = write_replicated(results, replication)
        if output:
            write_json(results, output)
    if as_json:
        print(to_json(results))
        return 0
    print(in_words(results, text))
    print(f"\nresults  {replication.directory / 'results.json'}\nreport   {report}")
    return 0


def listed(known: Replications, words: Words, own: Mapping[str, str | None], as_json: bool) -> int:
    """Run ``gendistill replicate --list``."""
    from gendistill.commands import register
    from gendistill.commands.standing import standings

    names = register.matching(known, words.positional)
    found = [one for one in standings(known, roots(words)) if one.name in names]
    print(to_json(register.as_values(found)) if as_json else register.text(found))
    return 0


def all_of_them(known: Replications, words: Words, own: Mapping[str, str | None], as_json: bool) -> int:
    """Run ``gendistill replicate --all``: every replication, or those whose ids patterns name."""
    from gendistill.commands import register
    from gendistill.commands.standing import standings

    names = register.matching(known, words.positional)
    with result_only(as_json), going_on(lambda: KEPT):
        result = register.run_all(known, names)
        found = [one for one in standings(known) if one.name in names]
    result |= register.as_values(found)
    if output := own.get("--output"):
        write_json(result, output)
    if as_json:
        print(to_json(result))
    else:
        print(register.text(found))
        print(f"\nscale {result['scale']}: {len(result['done'])} of {len(names)} run")
        for name, why in result["left_out"].items():
            print(f"left out: {name}: {why}")
        for name, why in result["failed"].items():
            print(f"failed: {name}: {why}")
    return 1 if result["left_out"] or result["failed"] else 0


def summary(known: Replications, words: Words, own: Mapping[str, str | None], as_json: bool) -> int:
    """Run ``gendistill replicate --summary``: write a page of all results below the root and in its record."""
    from gendistill.commands import record, register
    from gendistill.commands.standing import standings
    from gendistill.commands.summary import page
    from gendistill.files import atomic_write

    file = own["--summary"] or "docs/results.md"
    if set(file) & set("*?[") or file in known.ids():
        raise UserError(f"--summary takes the page's file first, and '{file}' is of ids; write --summary FILE {file}")
    require_place(file)
    require_place(kept := str(record.beside(Path(file))))
    names = register.matching(known, words.positional)
    everything = standings(known, roots(words), record.read(Path(kept), known))
    found = [one for one in everything if one.name in names]
    content = page(found).encode()
    record.write(Path(kept), [one.results for one in everything if one.results is not None], known)
    atomic_write(Path(file), lambda out: out.write(content))
    if as_json:
        print(to_json(register.as_values(found) | {"files": {"page": file, "record": kept}}))
    else:
        print(f"page     {file}\nrecord   {kept}")
        print(register.totals(found))
    return 0


def roots(words: Words) -> list[Path]:
    """Return the folders under which results are looked for: all that were typed."""
    return [Path(value or "") for option, value in words.overrides if option == "--root"]


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
                spread(row["accuracy"], 100),
                _number(said.get("accuracy"), 100),
                _distance(fidelity) if fidelity else "–",
                _number(said.get("fid"), 1),
            ]
        )
    further = [["", "measured", "reported"]]
    for row in results["replicated"]:
        said = (row["reported"] or {}).get("scores") or {}
        for name, value in row["further"].items():
            told = f"{said[name]:.4g}" if name in said else "–"
            further.append([f"{row['name']}: {name}", spread(value, 1, 3), told])
    runs = counted(len(results["seeds"]), "run")
    where = f"{results['id']}, scale {results['scale']}, {results['dataset']}, {runs}"
    more = ["", *aligned(further)] if len(further) > 1 else []
    return "\n".join([text_table(results), "", where, *aligned(lines), *more])


def _own(words: Words) -> tuple[dict[str, str | None], Replications]:
    """Take this command's own options out of the words."""
    own = {option: value for option, value in words.overrides if option in OWN}
    for option, value in own.items():
        if value is None and option != "--summary":
            raise UserError(f"{option} needs a value")
    looked_at = "--list" in words.flags or "--summary" in own
    if len(roots(words)) > 1 and not looked_at:
        raise UserError("--root is given twice; runs lie in one folder, and several are for --list and --summary alone")
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


def _distance(fidelity: Mapping[str, Any]) -> str:
    """Return a distance with what it is of: those of different numbers of images cannot be compared."""
    images = "" if fidelity.get("n") is None else f", n={fidelity['n']:,}"
    return f"{spread(fidelity, 1)} ({fidelity['name']}{images})"


def _number(value: float | None, factor: float) -> str:
    return "–" if value is None else f"{factor * value:.2f}"
