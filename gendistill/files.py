"""Writing files so that a reader never sees half of one, and taking away what killed writers left."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gendistill.errors import PlaceError, StorageError

try:
    import fcntl
except ImportError:  # not a POSIX system: what killed writers left stays, for it cannot be told from a living one's
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.tmp", re.DOTALL)
"""Names of what is being written; nobody else makes such names."""
PATIENCE = 10.0
"""Seconds for which a reader of a pipe that is written to may be late."""
LONGEST = 180
"""Bytes of a file's own name in that of its temporary one, which file systems end at 255."""


def atomic_write(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file completely or not at all, even when the machine stops in the middle.

    The bytes go to a temporary file in the same directory, are forced to the disk, and take the name in one step. A
    symbolic link keeps pointing where it points; a device or a pipe is written to directly. What a killed writer of the
    same file left is taken away.

    Args:
        path: The file to make or replace; its directory is made when missing.
        write: Called with the open binary file.

    Raises:
        StorageError: The disk is full, the place is not writable, ...; what was at ``path`` before is intact.
    """
    given, path = path, Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            with _open_special(path) as file:
                write(file)
            return
        remove_leftovers(path.parent, path.name)
        with _temporary_file(path) as (file, temporary):
            try:
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


def _open_special(path: Path) -> BinaryIO:
    """Open a device or a pipe; a pipe that nobody comes to read would be waited for without end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):
                raise
            if time.monotonic() > deadline:
                raise StorageError(
                    f"'{path}' is a pipe that nobody has read from for {PATIENCE:g} seconds; start its reader first, "
                    "or choose a file"
                ) from error
        time.sleep(0.05)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Lend a temporary folder that takes the name ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)
        with temporary_folder(path) as temporary:
            inside = temporary / path.name  # made by mkdir, it has the permissions that the user's umask gives
            inside.mkdir()
            yield inside
            os.replace(inside, path)
    except OSError as error:
        raise StorageError(storage_sentence(path, error)) from error


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Take away what killed writers left half written in a folder.

    A writer holds a lock on what it writes, which the system takes from it when it dies, however it dies: what is
    locked stays, and so does every file that has not such a name.

    Args:
        folder: Where; that it may be missing is no trouble.
        name: Only of writers of this file; None: of all.
    """
    if fcntl is None:
        return
    try:
        found = [entry.name for entry in os.scandir(folder) if TEMPORARY.fullmatch(entry.name)]
    except OSError:
        return
    wanted = None if name is None else _shortened(name)
    for entry in found:
        match = TEMPORARY.fullmatch(entry)
        if match is None or wanted not in (None, match["name"]):
            continue
        path = folder / entry
        with contextlib.suppress(OSError):  # it is being written, or has gone meanwhile
            is_folder = path.is_dir() and not path.is_symlink()
            flags = os.O_RDONLY if is_folder else os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(path, flags)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_folder:
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)


def require_place(path: str | Path, *, folder: bool = False) -> None:
    """Refuse a place where nothing can be written, before the work whose result is to go there.

    Args:
        path: The file, or the folder, that will be written.
        folder: Whether it is a folder.

    Raises:
        PlaceError: It is read-only, a folder where a file is meant or the other way round, its name is too long, ...
    """
    path = Path(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not folder and path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if folder and not path.is_dir() and path.stat():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not folder and path.exists() and not path.is_file():
                return  # a device or a pipe
        with contextlib.suppress(FileNotFoundError):
            os.lstat(path)
        real = Path(os.path.realpath(path))
        nearest = next((one for one in ((real,) if folder else ()) + tuple(real.parents) if one.exists()), Path("/"))
        with _temporary_file(nearest / "place") as (_, temporary):
            temporary.unlink()
    except OSError as error:
        raise PlaceError(place_sentence(path, error)) from error
    except ValueError as error:
        raise PlaceError(f"'{path}' is no name that a file can have ({error}); choose another place") from error


def temporary_name(path: Path) -> Path:
    """Return a name beside a file's own that nothing has yet, and that :func:`remove_leftovers` knows."""
    return path.with_name(f".{_shortened(path.name)}.{secrets.token_hex(6)}.tmp")


def _shortened(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:LONGEST])


@contextlib.contextmanager
def _temporary_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a temporary file beside a path, locked while it is open."""
    while True:
        temporary = temporary_name(path)
        file = open(temporary, "x+b")  # noqa: SIM115
        try:
            if _locked(file.fileno(), temporary):
                yield file, temporary
                return
        finally:
            file.close()


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Lend a temporary folder beside a path; it vanishes afterwards, and its leftovers can be told from it.

    Args:
        path: What its name is made of; see :func:`remove_leftovers`.

    Raises:
        OSError: It cannot be made.
    """
    while True:
        temporary = temporary_name(path)
        temporary.mkdir(mode=0o700)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            if _locked(descriptor, temporary):
                yield temporary
                return
        finally:
            os.close(descriptor)
            shutil.rmtree(temporary, ignore_errors=True)


def _locked(descriptor: int, path: Path) -> bool:
    """Lock what was made just now; False where somebody who looked for leftovers was quicker and took it away."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks, on which nobody takes anything away either
        return True
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def storage_sentence(path: str | Path, error: OSError) -> str:
    """Return the sentence for a file that could not be written."""
    reason = (error.strerror or str(error)).lower()
    return (
        f"'{path}' could not be written ({reason}); what was there before is kept: free some space or choose another "
        "place"
    )


def place_sentence(path: str | Path, error: OSError) -> str:
    """Return the sentence for a place where nothing can be written."""
    reason = (error.strerror or str(error)).lower()
    return f"'{path}' could not be written ({reason}); choose another place"


def sync_directory(directory: Path) -> None:
    """Force a directory's list of names to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
