"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gendistill.errors import StorageError


def atomic_write(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all, even when the machine stops in the middle.

    The bytes go to a temporary file in the same directory, are forced to the disk, and take the name in one step. A
    symbolic link keeps pointing where it points; a device or a pipe is written to directly.

    Args:
        path: The file to make or replace; its directory is made when missing.
        write: Called with the open binary file.

    Raises:
        StorageError: The disk is full, the place is not writable, ...; what was at ``path`` before is intact.
    """
    given, path = path, Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            with open(path, "wb") as file:
                write(file)
            return
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(storage_sentence(given, error)) from error


def storage_sentence(path: str | Path, error: OSError) -> str:
    """Return the sentence for a file that could not be written."""
    reason = (error.strerror or str(error)).lower()
    return (
        f"'{path}' could not be written ({reason}); what was there before is kept: free some space or choose another "
        "place"
    )


def sync_directory(directory: Path) -> None:
    """Force a directory's list of names to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
