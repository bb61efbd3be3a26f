"""Files that are files: a pipe, a device, a socket or a folder is refused before it is opened, for it may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gendistill.budget import TEXT, check_file
from gendistill.errors import PlaceError, UserError
from gendistill.plain import readable

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular(path: str | Path) -> Path:
    """Return a path after looking, without opening it, whether a regular file lies there, or nothing.

    Args:
        path: What a person or another file named; links are followed.

    Returns:
        The path. Where nothing lies it is returned as well, so that whoever opens it says what is missing.

    Raises:
        UserError: Something else lies there, or a link that leads nowhere.
    """
    path = Path(path)
    shown = readable(str(path))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if path.is_symlink():
            raise UserError(f"'{shown}' is a link to nothing; replace it by the file that is meant") from error
        return path
    if not stat.S_ISREG(mode):
        raise UserError(
            f"'{shown}' is {_kind(mode)} and cannot be read as a file; give the path of a regular file (save what "
            "comes through a pipe first)"
        )
    return path


def require_own(path: str | Path, way_out: str = "take it away") -> None:
    """Refuse, before any work, a place of a file of ours where something else lies, in which nothing can be kept.

    Args:
        path: The file, which may be missing; links are followed.
        way_out: What to do.

    Raises:
        PlaceError: A folder, a pipe or a device lies there, or a link that leads nowhere.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        what = "a link to nothing" if path.is_symlink() else None
    else:
        what = None if stat.S_ISREG(mode) else _kind(mode)
    if what is not None:
        raise PlaceError(f"'{readable(str(path))}' is {what}, and a file is written there; {way_out}")


def _kind(mode: int) -> str:
    return next((words for test, words in KINDS if test(mode)), "no regular file")


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` followed; that of an unknown user, at which ``Path.expanduser`` fails, as it is."""
    return Path(os.path.expanduser(path))


def real_path(path: str | Path) -> Path:
    """Return a path with ``~`` and links followed.

    Links in a circle and names with NUL, at which ``Path.resolve`` fails, stay as they are.
    """
    path = expanded(path)
    return path if "\0" in str(path) else Path(os.path.realpath(path))


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: See :func:`regular`; or there is not the memory.
        OSError: It is not there or cannot be read.
    """
    check_file(regular(path))
    return Path(path).read_bytes()


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """Return the text of a regular file.

    Raises:
        UserError: See :func:`regular`; or there is not the memory.
        OSError, UnicodeDecodeError: It is not there or cannot be read.
    """
    check_file(regular(path), TEXT)
    return Path(path).read_text(encoding=encoding)
