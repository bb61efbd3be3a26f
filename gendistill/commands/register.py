"""The register of all replications: the list with where each stands, and all of them in one command."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

from gendistill.commands.measured import changed
from gendistill.commands.replicated import replicate, sentence, spread, write_replicated
from gendistill.commands.replication import Replications
from gendistill.commands.standing import CANNOT, STATUSES, TRIED, Standing
from gendistill.errors import GendistillError, StorageError, UserError, did_you_mean
from gendistill.runs.signals import Interrupted
from gendistill.visible import visible
from gendistill.words import counted, listed

WIDEST = 60
"""Characters of a cell."""


def matching(known: Replications, patterns: Sequence[str]) -> list[str]:
    """Return the ids that patterns such as ``dd-*`` name; all without a pattern.

    Raises:
        UserError: A pattern names none.
    """
    ids = known.ids()
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ids):
            hint = did_you_mean(pattern, ids) or "gendistill replicate --list names all of them"
            raise UserError(f"there is no replication '{pattern}'; {hint.rstrip()}")
    return [name for name in ids if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def as_values(found: Sequence[Standing]) -> dict[str, Any]:
    """Return standings as plain values: by id what is reported, and beside it what was measured and the status."""
    return {
        "replications": {one.name: one.said and asdict(one.said) for one in found},
        "standing": {
            one.name: {
                "source": one.source,
                "table": one.table,
                "data": one.data,
                "status": one.status,
                "missing": list(one.missing),
                "measured": _measured(one),
                "agreements": [asdict(part) for part in one.found],
            }
            for one in found
        },
        "counts": counts(found),
    }


def counts(found: Sequence[Standing]) -> dict[str, int]:
    """Return how many replications have each status."""
    kinds = Counter(one.status for one in found)
    return {status: kinds[status] for status in STATUSES if kinds[status]}


def text(found: Sequence[Standing]) -> str:
    """Return standings as a list by source and table, and how many have each status."""
    lines = [["", "reported", "measured", "of", "CPU s", "status"]]
    why = Counter(part for one in found for part in one.missing).most_common()
    numbers = {part: place for place, (part, _) in enumerate(why, 1)}
    for one in found:
        reasons = ", ".join(str(place) for place in sorted(numbers[part] for part in one.missing))
        status = f"{one.status} ({reasons})" if reasons and one.status in (CANNOT, TRIED) else one.status
        lines.append([f"  {one.name}", sentence(one.said) if one.said else "", *cells(one), status])
    shown = _aligned(lines)
    written, before = shown[:2], None
    for one, line in zip(found, shown[2:], strict=True):
        if (group := (one.source, one.table)) != before:
            written += ["", f"{one.source}{', ' if one.table else ''}{one.table}"]
            before = group
        written.append(line)
    written += ["", totals(found)]
    written += [f"({place}) {counted(number, 'row')}: {part}" for place, (part, number) in enumerate(why, 1)]
    return "\n".join(written)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with every cell at the left of its column, for they hold words."""
    short = [[visible(cell, WIDEST) for cell in line] for line in lines]
    widths = [max(len(line[place]) for line in short) for place in range(len(short[0]))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in short]
    return [rows[0], "─" * (sum(widths) + 2 * (len(widths) - 1)), *rows[1:]]


def totals(found: Sequence[Standing]) -> str:
    """Return how many replications there are, and how many have each status."""
    parts = [f"{number} {status}" for status, number in counts(found).items()]
    return f"{counted(len(found), 'replication')}: {listed(parts)}" if parts else "no replication"


def cells(one: Standing) -> tuple[str, str, str]:
    """Return what was measured, of which scale, data and runs, and its CPU seconds; empty where nothing was.

    CPU seconds are of the first row, and in brackets of it and all that is shown beside it.

    The scale ``smoke`` shows that a row runs; after its few updates no number means anything, and none is shown.
    """
    results = one.results
    if results is None:
        return "", "", ""
    row = results["replicated"][0]
    cpu = " ".join(filter(None, [_seconds(row.get("cpu_seconds")), _with_all(results["replicated"])]))
    of = ", ".join(
        [str(results["scale"]), results["dataset"], counted(len(results["seeds"]), "run"), *changed(results)]
    )
    words = "" if one.status == TRIED else measured_words(row)
    return words, of, cpu


def _with_all(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return in brackets the CPU seconds of all rows of a table; empty where there is one, or some were not counted."""
    spent = [row.get("cpu_seconds") for row in rows]
    known = [one for one in spent if one is not None]
    return f"({_seconds(sum(known))})" if len(spent) > 1 and len(known) == len(spent) else ""


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def measured_words(row: Mapping[str, Any]) -> str:
    """Return what a row measured: accuracy in per cent, the distance with its name, further scores."""
    parts = []
    if (accuracy := row.get("accuracy")) and accuracy.get("mean") is not None:
        parts.append(f"{spread(accuracy, 100)} %")
    if (fidelity := row.get("fidelity")) and fidelity.get("mean") is not None:
        parts.append(f"{fidelity.get('name') or 'FD'} {spread(fidelity, 1)}")
    parts += [f"{name} {spread(value, 1, 3)}" for name, value in (row.get("further") or {}).items()]
    return "; ".join(parts)


def run_all(known: Replications, names: Sequence[str]) -> dict[str, Any]:
    """Run, or finish, replications one after the other; one that cannot be run is left out with its sentence.

    Args:
        known: How.
        names: Which.

    Returns:
        ``scale``, ``done`` (ids), ``left_out`` (by id what is missing) and ``failed`` (by id why its run failed).

    Raises:
        StorageError: Nothing can be written any more, which no other one could, either; what is finished is kept.
        Interrupted: A signal came.
    """
    done: list[str] = []
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    for place, name in enumerate(names, 1):
        print(f"[{place}/{len(names)}] {name}", file=sys.stderr)
        try:
            replication = known.open(name)
            write_replicated(replicate(replication), replication)
        except UserError as error:
            left_out[name] = str(error)
            print(f"{name} is left out: {error}", file=sys.stderr)
        except (Interrupted, StorageError):
            raise
        except GendistillError as error:
            failed[name] = str(error)
            print(f"{name} failed: {error}", file=sys.stderr)
        except Exception as error:  # a bug in one of hundreds that run over night stops that one alone
            traceback.print_exc()
            failed[name] = visible(f"{type(error).__name__}: {error}", 200)
        else:
            done.append(name)
    return {"scale": known.scale, "done": done, "left_out": left_out, "failed": failed}


def _measured(one: Standing) -> dict[str, Any] | None:
    if one.results is None:
        return None
    row = one.results["replicated"][0]
    return {
        **{key: one.results[key] for key in ("scale", "dataset", "seeds")},
        **{key: row.get(key) for key in ("accuracy", "fidelity", "further", "cpu_seconds")},
    }
