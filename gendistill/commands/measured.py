"""The results of replications that lie below some roots, those of rows that a table has measured among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.evaluation.result_form import check_results
from gendistill.json_file import (
    Each,
    Is,
    JsonError,
    Keys,
    Shape,
    fraction,
    list_of,
    mapping,
    maybe,
    number,
    read_json,
    size,
    text,
    whole,
)
from gendistill.notes import note

Results = Mapping[str, Any]
"""What :func:`gendistill.commands.replicated.replicate` returned."""
WITHIN = "within"
"""In results that are those of a row of a table: the table's own results."""
_SPREAD = Keys(
    optional={
        "mean": Is(number, "a number"),
        "std": Is(number, "a number"),
        "runs": Is(list_of(maybe(number)), "a list of numbers"),
        "name": Is(text, "text"),
        "n": Is(whole, "a number of images"),
    }
)
_ACCURACY = Keys(
    optional={
        "mean": Is(fraction, "a fraction from 0 to 1"),
        "std": Is(size, "a number of at least 0"),
        "runs": Is(list_of(fraction), "a list of fractions from 0 to 1"),
    }
)
SETTINGS: dict[str, Shape] = {
    "id": Is(text, "text"),
    "scale": Is(maybe(text), "text"),
    "dataset": Is(text, "text"),
    "seeds": Is(list_of(whole), "a list of seeds"),
}
ROW: dict[str, Shape] = {
    "id": Is(text, "text"),
    "accuracy": _ACCURACY,
    "fidelity": _SPREAD,
    "further": Keys(others=_SPREAD),
    "cpu_seconds": Is(size, "seconds"),
    "reported": Is(mapping, "what is reported"),
}
SHAPE = Keys(
    required={
        **SETTINGS,
        "teachers": Is(list_of(mapping), "a list of results"),
        "replicated": Each(Keys(required={"name": Is(text, "text")}, optional=ROW), at_least=1),
    },
    optional={"options": Is(list_of(text), "a list of options")},
)


def below(roots: Sequence[Path]) -> Iterator[Results]:
    """Yield all results below some roots; a file that cannot be used is left out, with a note."""
    for file in (file for root in roots for file in sorted((root / "replication").glob("*/*/*/results.json"))):
        try:
            values = read_json(file, SHAPE)
            check_results(values, f"'{file}'")
            if len(values["teachers"]) != len(values["replicated"]):
                raise JsonError(f"'{file}' has not a row for each of its teachers")
        except FileNotFoundError:
            continue
        except UserError as error:
            note(f"{error}; it is left out")
            continue
        yield values


def by_id(found: Iterable[Results]) -> dict[str, list[Results]]:
    """Return results by id, first a replication's own and then those of rows of tables, in the order given."""
    own: dict[str, list[Results]] = {}
    rows: list[tuple[str, Results]] = []
    for values in found:
        own.setdefault(values["id"], []).append(values)
        rows += [
            (row["id"], {**values, "id": row["id"], "teachers": [one], "replicated": [row], WITHIN: values})
            for one, row in zip(values["teachers"][1:], values["replicated"][1:], strict=True)
            if row.get("id") is not None
        ]
    # Of equally near results a row's own come first: they have what stands beside it, too.
    for name, values in rows:
        own.setdefault(name, []).append(values)
    return own


def changed(results: Results) -> tuple[str, ...]:
    """Return the options that were typed for a replication and change what its config says, as they were typed."""
    return tuple(results.get("options") or ())
