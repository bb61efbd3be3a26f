"""The key ``links`` of a run's ``results.json``: what its processes have sent, beside what they must send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendistill.files import atomic_write
from gendistill.json_file import Is, JsonError, list_of, mapping, read_json, whole
from gendistill.links.ledger import COUNTS, PARTS

KEY = "links"
ROWS = Is(
    list_of(
        lambda row: (
            mapping(row)
            and set(row) == {*PARTS, *COUNTS}
            and all(isinstance(row[part], str) for part in PARTS)
            and all(whole(row[count]) for count in COUNTS)
        )
    ),
    "rows of what was sent",
)
"""What :meth:`gendistill.links.ledger.Ledger.rows` returns."""


def write_links(path: Path, links: Mapping[str, Any]) -> None:
    """Write the key, beside what an evaluation has written there.

    Args:
        path: ``results.json`` of the run.
        links: ``steps``, ``processes``, ``seconds``, ``rows``, ``expected``.

    Raises:
        StorageError: The file cannot be written.
    """
    text = json.dumps({**read_results(path), KEY: links}, indent=2, sort_keys=True) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()))


def read_links(path: Path) -> dict[str, Any] | None:
    """Return what was written; None where there is nothing, or nothing that can be read."""
    found = read_results(path).get(KEY)
    return dict(found) if isinstance(found, Mapping) else None


def read_results(path: Path) -> dict[str, Any]:
    """Return what a run's ``results.json`` holds; nothing where there is none, or it is damaged."""
    if not path.is_file():
        return {}
    try:
        found = read_json(path)
    except JsonError:
        return {}
    return dict(found) if isinstance(found, dict) else {}
