"""The record of what replications have measured, a file beside the page that shows it.

Runs lie on the machine that made them; the record is kept with the page. So a row that one machine has measured stays
on the page when another one writes it, for as long as the row's config says the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gendistill import __version__
from gendistill.commands.measured import ROW, SETTINGS, WITHIN, Results
from gendistill.commands.replication import PLACED, Replications
from gendistill.config.base import read_config
from gendistill.config.merge import at_scale
from gendistill.config.plan import is_real, plan
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.json_file import Each, Is, Keys, list_of, read_json, text, whole
from gendistill.notes import note
from gendistill.words import counted, listed

FORMAT = 1
SMOKE = "smoke"
SHAPE = Keys(
    required={
        "format": Is(lambda value: value == FORMAT, f"the number {FORMAT}"),
        "results": Each(
            Keys(
                required={
                    **SETTINGS,
                    "config": Is(text, "the digest of a config"),
                    "version": Is(text, "a version"),
                    "replicated": Each(
                        Keys(
                            required={"name": Is(text, "text")},
                            optional={**ROW, "test_images": Is(whole, "a number of images")},
                        ),
                        at_least=1,
                    ),
                },
                optional={"options": Is(list_of(text), "a list of options")},
            )
        ),
    }
)
KEPT = ("id", "accuracy", "fidelity", "further", "cpu_seconds")
"""What of a row is kept beside its name."""


def beside(page: Path) -> Path:
    """Return the record's file of a page."""
    return page.with_suffix(".json")


def read(file: Path, known: Replications) -> list[Results]:
    """Return the results of a record whose configs say the same today; none where there is no file.

    Args:
        file: The record.
        known: Where the configs are. A note says whose have changed.

    Raises:
        JsonError: It is no record; nothing would be left of it if the page were written.
    """
    if not file.is_file():
        return []
    found: list[Results] = []
    others: set[str] = set()
    for values in read_json(file, SHAPE)["results"]:
        if _digest(known, values["id"], values["scale"]) == values["config"]:
            found.append(_opened(values))
        else:
            others.add(str(values["id"]))
    if others:
        note(
            f"'{file}' holds {counted(len(others), 'row')} whose configs are gone or say something else today, which "
            f"are left out: {listed(sorted(others))}"
        )
    return found


def write(file: Path, shown: Iterable[Results], known: Replications) -> None:
    """Write the record of all results that a page shows.

    Args:
        file: The record.
        shown: The results, those of a table's row in place of the table's among them.
        known: Where the configs are.

    Raises:
        PlaceError: It cannot be written.
    """
    whole_ones: dict[str, dict[str, Any]] = {}
    for one in shown:
        results = one.get(WITHIN) or one
        config = results.get("config") or _digest(known, results["id"], results["scale"])
        if config is None:  # its config does not know this scale any more
            continue
        values = {key: results[key] for key in ("id", "scale", "dataset", "seeds")}
        values |= {"options": list(results["options"])} if results.get("options") else {}
        # Of an earlier one its own version and config: what the file says of it stays.
        values |= {
            "version": results.get("version", __version__),
            "config": config,
            "replicated": list(_rows(results)),
        }
        whole_ones.setdefault(json.dumps([values[key] for key in ("id", "scale", "dataset", "seeds")]), values)
    ordered = [whole_ones[key] for key in sorted(whole_ones)]
    # A line each, so that what a measurement changes is one line.
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in ordered)
    content = f'{{"format": {FORMAT}, "results": [\n{lines}\n]}}\n'.encode()
    atomic_write(file, lambda out: out.write(content))


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    if results["scale"] == SMOKE:  # it ran, and no number of it means anything
        yield {"name": results["replicated"][0]["name"]}
        return
    for row, teacher in zip(results["replicated"], results["teachers"], strict=True):
        sizes = (teacher.get("learning") or {}).get("class_sizes") or ()
        kept = {key: row[key] for key in KEPT if row.get(key) not in (None, {})}
        yield {"name": row["name"]} | kept | ({"test_images": sum(sizes)} if sum(sizes) else {})


def _opened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's results as a run's have them, without its curves."""
    sizes = [row.get("test_images") for row in values["replicated"]]
    teachers = [{"learning": {"class_sizes": [size]} if size else None} for size in sizes]
    return {**values, "teachers": teachers}


def _digest(known: Replications, name: str, scale: str | None) -> str | None:
    """Return a digest of what a replication's config, and those of the rows that it shows, say; None: it is gone."""
    try:
        configs = list(_configs(replace(known, scale=scale, read=known.read), name))
    except UserError:
        return None
    written = json.dumps(configs, sort_keys=True, default=str)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def _configs(known: Replications, name: str) -> Iterator[Mapping[str, Any]]:
    path = known.open(name).path
    config = at_scale(read_config(path, known.read), known.scale, path)
    planned = plan(config, path)
    # What is reported, and where and how often a run writes, change no measurement.
    run = {key: value for key, value in (config.get("run") or {}).items() if key not in PLACED}
    yield {key: value for key, value in config.items() if key not in ("reported", "scales")} | {"run": run}
    named = [planned.teacher, planned.starts_from, *planned.sized.values(), *planned.beside.values()]
    for other in dict.fromkeys(one for one in named if one is not None):
        if other not in ("run", name) and not is_real(other):
            yield from _configs(known, other)
