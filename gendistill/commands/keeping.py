"""Where a command that judges for long keeps its finished parts: beside what it writes, until that is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from gendistill.claims import claimed
from gendistill.files import require_place
from gendistill.runs.signals import going_on
from gendistill.spelling import judging_option, same_judging


def parts_beside(output: str | Path | None) -> Path | None:
    """Return the folder of the parts of an output file; None where there is none, or it is no file but a pipe."""
    if not output:
        return None
    path = Path(output)
    return None if path.exists() and not path.is_file() else path.with_name(f".{path.name}.parts")


KEPT = (".json", ".safetensors")
"""Ends of the names of parts, and of learners in training."""


@contextmanager
def keeping(output: str | Path | None) -> Iterator[None]:
    """Keep the finished parts of what is judged inside, and say how to go on when a signal comes.

    Args:
        output: The file that the command will write; None: nothing is kept.

    Raises:
        Interrupted: A signal came.
        PlaceError: There is no place for the file.
        UserError: Another process judges for the same file.
    """
    from gendistill.evaluation.parts import kept_in

    folder = parts_beside(output)
    if output and folder is not None:
        require_place(output)

    def how() -> str:
        if folder is None:
            return f"nothing is kept without {judging_option('output')} FILE; {same_judging()} again to start anew"
        if not (folder.is_dir() and any(path.suffix in KEPT for path in folder.iterdir())):
            return f"nothing was finished; {same_judging()} again to start anew"
        return f"what is finished is kept in '{folder}'; {same_judging()} again to go on"

    claim = nullcontext() if folder is None else claimed(folder, "judging", "choose another --output")
    try:
        with claim, going_on(how), kept_in(folder):
            yield
    finally:
        if folder is not None:
            with suppress(OSError):  # it is not there, or holds what is kept
                folder.rmdir()


def forget(output: str | Path) -> None:
    """Remove the parts of an output file that is written."""
    if (folder := parts_beside(output)) is not None:
        shutil.rmtree(folder, ignore_errors=True)
