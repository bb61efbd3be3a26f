"""Evaluations that a command keeps, so that it goes on where it stopped: judged anew where they are damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendistill.commands.output import write_json
from gendistill.evaluation.result_form import check_kept
from gendistill.files import remove_leftovers
from gendistill.json_file import Each, Is, Keys, mapping, read_kept, sealed, text

ANEW = "it is judged anew"
RESULT = Is(mapping, "a result of an evaluation")
SHAPE = Keys(
    optional={
        "what": Is(mapping, "an object of options"),
        "data": Is(mapping, "what the data holds"),
        "fingerprint": Is(text, "text"),
        "result": RESULT,
        "results": Each(RESULT),
    }
)


def write_evaluation(file: Path, values: Mapping[str, Any]) -> None:
    """Keep results with what they were made from, and a checksum.

    Args:
        file: Where; its folder is made.
        values: Plain values; ``result`` or ``results`` are those of evaluators, the rest says what they were made from.

    Raises:
        StorageError: It cannot be written.
    """
    from gendistill.plain import plain

    write_json(sealed(plain(values, strict=True)), file)


def read_evaluation(file: Path) -> dict[str, Any] | None:
    """Return what :func:`write_evaluation` kept.

    Returns:
        The values; None where there are none, and, with a note, where they are damaged.
    """
    if file.parent.is_dir():
        remove_leftovers(file.parent)

    def whole(values: Mapping[str, Any]) -> None:
        for result in [values["result"]] if "result" in values else values.get("results") or []:
            check_kept(result, f"'{file}': the result")

    return read_kept(file, SHAPE, ANEW, also=whole)
