"""One process at a time in a folder of results: the claim ends with the process, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gendistill.errors import PlaceError, UserError
from gendistill.files import place_sentence, remove_leftovers, require_place

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes in one folder are then not noticed
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
WAITLESS = getattr(os, "O_NONBLOCK", 0)


class Claim:
    """A claim on a folder.

    Args:
        folder: The folder; made when missing.
        doing: What a process does there, as in "another process is ``training`` in".
        way_out: What else to do than to wait: "choose another --output".
    """

    def __init__(self, folder: Path, doing: str, way_out: str) -> None:
        self.folder, self.doing, self.way_out = folder, doing, way_out
        self._lock: IO[bytes] | None = None

    def take(self) -> None:
        """Claim the folder until :meth:`release` or the process's end, and take away what killed writers left there.

        Raises:
            PlaceError: Nothing can be written there.
            UserError: Another process has claimed it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Without waiting, should somebody have put a pipe there.
            descriptor = os.open(self.folder / LOCK, os.O_WRONLY | os.O_CREAT | WAITLESS, 0o666)
        except ValueError as error:
            raise PlaceError(f"'{self.folder}' is no name that a folder can have; choose another place") from error
        except OSError as error:
            raise PlaceError(place_sentence(self.folder, error)) from error
        self._lock = os.fdopen(descriptor, "wb")
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.release()
                raise UserError(
                    f"another process is {self.doing} in '{self.folder}'; wait for it to end or {self.way_out}"
                ) from error
            except OSError:  # a file system without locks
                self.release()
        require_place(self.folder, folder=True)
        remove_leftovers(self.folder)

    def release(self) -> None:
        """Give the folder free."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextlib.contextmanager
def claimed(folder: Path, doing: str, way_out: str) -> Iterator[None]:
    """Hold a :class:`Claim` on a folder.

    Raises:
        PlaceError: Nothing can be written there.
        UserError: Another process has claimed it.
    """
    claim = Claim(folder, doing, way_out)
    claim.take()
    try:
        yield
    finally:
        claim.release()
