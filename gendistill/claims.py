"""One process at a time in a folder of results: the claim ends with the process, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from gendistill.errors import PlaceError, UserError
from gendistill.files import place_sentence, remove_leftovers, require_place
from gendistill.regular import require_own

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
        files: Names of files that are kept or written there; nothing else may lie in their places.
    """

    def __init__(self, folder: Path, doing: str, way_out: str, files: Iterable[str] = ()) -> None:
        self.folder, self.doing, self.way_out, self.files = folder, doing, way_out, tuple(files)
        self._lock: IO[bytes] | None = None
        self._made: list[Path] = []

    def take(self) -> None:
        """Claim the folder until :meth:`release` or the process's end, and take away what killed writers left there.

        Raises:
            PlaceError: Nothing can be written there, or a folder, a pipe or the like lies where a file is written.
            UserError: Another process has claimed it.
        """
        try:
            self._made = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
            while not self._locked():
                pass
        except ValueError as error:
            raise PlaceError(f"'{self.folder}' is no name that a folder can have; choose another place") from error
        except BlockingIOError as error:
            raise UserError(
                f"another process is {self.doing} in '{self.folder}'; wait for it to end or {self.way_out}"
            ) from error
        except OSError as error:
            raise PlaceError(place_sentence(self.folder, error)) from error
        require_place(self.folder, folder=True)
        for name in self.files:
            require_own(self.folder / name, f"take it away, or {self.way_out}")
        remove_leftovers(self.folder)

    def _locked(self) -> bool:
        """Make the folder and lock it; False where its last owner took either away meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            return self._open()
        except FileNotFoundError:
            if self.folder.is_dir():
                raise
            return False

    def _open(self) -> bool:
        """Lock the file; False where its last owner took it away meanwhile, so that another one is to be locked."""
        path = self.folder / LOCK
        # Without waiting, should somebody have put a pipe there.
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | WAITLESS, 0o666), "wb")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                return False
        except FileNotFoundError:
            file.close()
            return False
        except BlockingIOError:
            file.close()
            raise
        except OSError:  # a file system without locks
            file.close()
            path.unlink(missing_ok=True)
            return True
        self._lock = file
        return True

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process is to inherit so that the folder stays claimed until it, too, has ended."""
        return () if self._lock is None else (self._lock.fileno(),)

    def release(self) -> None:
        """Give the folder free, and take it away where it was made here and nothing came into it."""
        if self._lock is not None:
            # While it is locked: whoever has opened it already sees that it has gone, and makes another.
            with contextlib.suppress(OSError):
                os.unlink(self.folder / LOCK)
            self._lock.close()
            self._lock = None
        for folder in self._made:
            with contextlib.suppress(OSError):  # something was written there
                folder.rmdir()
        self._made = []


@contextlib.contextmanager
def claimed(folder: Path, doing: str, way_out: str, files: Iterable[str] = ()) -> Iterator[None]:
    """Hold a :class:`Claim` on a folder.

    Raises:
        PlaceError: Nothing can be written there.
        UserError: Another process has claimed it.
    """
    claim = Claim(folder, doing, way_out, files)
    try:
        claim.take()
        yield
    finally:
        claim.release()
