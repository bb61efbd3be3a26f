"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gendistill.errors import StorageError


def atomic_write(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all, even when the machine stops in the middle.

    The bytes go to a temporary file in the same directory, are forced to the disk, and take the name in one step.

    Args:
        path: The file to make or replace; its directory is made when missing.
        write: Called with the open binary file.

    Raises:
        StorageError: The disk is full, the place is not writable, ...; what was at ``path`` before is intact.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
        sync_directory(path.parent)
    except OSError as error:
        raise StorageError(storage_sentence(path, error)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
