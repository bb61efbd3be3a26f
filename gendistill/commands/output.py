"""What every command does with its result: one JSON object on stdout, or words for a person."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.keeping import forget
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.json_file import read_json
from gendistill.plain import plain
from gendistill.visible import seen

if TYPE_CHECKING:
    from gendistill.grids import Grid


def to_json(result: Mapping[str, Any]) -> str:
    """Return a result as JSON text."""
    return json.dumps(plain(result, strict=True), indent=2, allow_nan=False, ensure_ascii=False)


def write_json(result: Mapping[str, Any], path: str | Path) -> None:
    """Write a result as a JSON file, completely or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    text = to_json(result) + "\n"
    atomic_write(path, lambda file: file.write(text.encode()) and None)


def read_results(path: str | Path) -> dict[str, Any]:
    """Read results: a ``results.json`` file, or the directory of a run that holds one.

    Returns:
        ``{"teachers": [...]}``; the result of one evaluation is wrapped so.

    Raises:
        UserError: There is none, or it is not a result.
    """
    path = Path(path)
    file = path / "results.json" if path.is_dir() else path
    try:
        values = read_json(file)
    except FileNotFoundError as error:
        raise UserError(f"there is no {file}; gendistill evaluate or compare writes one with --output") from error
    if isinstance(values, dict) and isinstance(values.get("teacher"), dict):
        values = {"teachers": [values]}
    from gendistill.evaluation.result_form import check_results

    if not check_results(values, str(file)):
        raise UserError(f"{file} holds no teachers; expected what gendistill evaluate or compare writes")
    return dict(values)


def hand_over(
    result: Mapping[str, Any],
    text: Callable[[Mapping[str, Any]], str],
    *,
    as_json: bool,
    output: str | Path | None = None,
    report: str | Path | None = None,
    export: str | Path | None = None,
    pictures: Callable[[], Mapping[str, Grid]] = dict,
) -> int:
    """Write a command's result where it is asked for, and print it.

    Args:
        result: Plain values.
        text: Turns it into words for a person.
        as_json: Whether only the result, as one JSON object, may stand on stdout.
        output: JSON file to write; None or empty: none.
        report: HTML report to write; None or empty: none.
        export: Folder for the files of a paper; None or empty: none.
        pictures: Makes the images; asked only if there is a report or an export.

    Returns:
        The exit code, 0.

    Raises:
        StorageError: A file cannot be written.
    """
    with result_only(as_json):
        if output:
            write_json(result, output)
        images = pictures() if report or export else {}
        if report:
            from gendistill.report.page import write_report

            write_report(result, report, images)
        if export:
            from gendistill.report.export import export as write_export

            write_export(result, export, images)
        for written in (output, report):
            if written:
                forget(written)
    if as_json:
        print(to_json(result))
        return 0
    print(in_words(result, text))
    for what, where in (("results", output), ("report", report), ("export", export)):
        if where:
            print(f"{what:<8} {where}")
    return 0


def in_words(result: Mapping[str, Any], text: Callable[[Mapping[str, Any]], str]) -> str:
    """Return a result in words for a terminal, in which every name stays on its line and is seen."""
    return text(seen(plain(result)))


@contextlib.contextmanager
def result_only(wanted: bool) -> Iterator[None]:
    """While inside, send what is printed to stderr if only the result may stand on stdout."""
    if not wanted:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield
