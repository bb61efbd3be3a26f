"""A unit of work on another machine: the words of a command, the files that it needs, and the files that come back.

It is done by a process of its own below a worker of the cluster. What it writes lies in a folder that is named by all
that the unit depends on: a worker that does the unit of a worker that was lost on the same machine goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from gendistill import __version__, allocation, budget
from gendistill.claims import Claim
from gendistill.commands.side_by_side import sentence_of, started, threads_each
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.runs.progress import last_step

RUN = "run/"
"""Begins the names of a run's own files."""
PLACE = "{place}"
"""Stands in a unit's words for its folder."""
SECONDS_BETWEEN_LOOKS = 0.25
PATIENCE = 60.0
"""Seconds for a run whose worker has died to make its step and save."""
KEPT_FOR = 14 * 24 * 3600
"""Seconds after which the folder of a unit that nobody went on with is taken away."""
LINES = 20
"""Of what a process wrote before it failed without a sentence."""


@dataclass(frozen=True)
class Unit:
    """One piece of work, whole in itself: whoever does it, what comes back is the same.

    Attributes:
        name: What progress calls it.
        words: Those after ``gendistill``; :data:`PLACE` in them is the unit's folder.
        files: What is put into the folder before, by its name there.
        returned: Patterns (``run/*.pt``) of what comes back of the folder.
        log: The log, in the folder, whose last step says how far it is; None: nothing says it.
        steps: Of the log at the end.
    """

    name: str
    words: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    returned: tuple[str, ...] = ()
    log: str | None = None
    steps: int = 0

    @property
    def digest(self) -> str:
        """Names all that the unit depends on."""
        digest = hashlib.sha256(repr((self.words, sorted(versions().items()))).encode())
        for name in sorted(self.files):
            digest.update(f"\n{name} {len(self.files[name])}\n".encode())
            digest.update(self.files[name])
        return digest.hexdigest()[:24]


def versions() -> dict[str, str]:
    """Return the versions that results depend on, without importing torch."""
    return {"gendistill": __version__, "torch": importlib.metadata.version("torch")}


def unlike(here: dict[str, str], there: dict[str, str]) -> list[str]:
    """Return in words which versions are others there; a build's own mark (``+cpu``) is no other version."""
    return [
        f"{name} {there.get(name) or 'of no known version'}, here it is {version}"
        for name, version in here.items()
        if str(there.get(name)).partition("+")[0] != version.partition("+")[0]
    ]


def do(
    unit: Unit,
    asked_with: dict[str, str],
    wanted: Callable[[], bool],
    tell: Callable[[int], None],
    expansion: str | None = None,
) -> dict[str, Any]:
    """Do a unit.

    Args:
        unit: What to do.
        asked_with: :func:`versions` of who asks.
        wanted: Returns whether somebody still waits for it; asked now and then.
        tell: Is told the steps that are done, now and then.
        expansion: Megabytes to which files may expand, see :mod:`gendistill.budget`; None: what holds here.

    Returns:
        ``files``, what comes back by name; or ``refused``, in which versions this machine is another one; or ``error``,
        a sentence, with ``code``, the exit code; or ``stopped``, where nobody waits for it any more.
    """
    if found := unlike(asked_with, versions()):
        return {"refused": "; ".join(found)}
    with _folder(unit.digest, wanted) as (place, claim), tempfile.TemporaryFile() as errors:
        for name, content in unit.files.items():
            path = place / name
            if not path.is_file() or not name.startswith(RUN):  # a run that has gone on is further than what was sent
                atomic_write(path, partial(_write, content))
        words = [word.replace(PLACE, str(place)) for word in unit.words]
        words += [] if expansion is None else [f"{budget.OPTION}={expansion}"]
        # Should this process die, the folder is free only when that one has ended in its own good order.
        inherited = () if claim is None else claim.descriptors
        process = started(words, _threads(), errors, inherited, without=_of_dask())
        try:
            while (code := process.poll()) is None:
                if not wanted():
                    return {"stopped": True}
                if unit.log is not None:
                    tell(last_step(place / unit.log))
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if code == 0:
            found_files = {
                str(PurePosixPath(path.relative_to(place))): path.read_bytes()
                for pattern in unit.returned
                for path in sorted(place.glob(pattern))
                if path.is_file() and not path.is_symlink()
            }
            shutil.rmtree(place, ignore_errors=True)
            return {"files": found_files}
        errors.seek(0)
        said = errors.read().decode(errors="replace").replace(str(place), "the unit's folder")
        sentence = sentence_of(said)
        if code == UserError.exit_code:
            shutil.rmtree(place, ignore_errors=True)
        lines = [line for line in said.splitlines() if line.strip()]
        ended = ": ".join([f"it ended with exit code {code}", *lines[-1:]])
        return {"error": sentence or ended, "code": code, "tail": "" if sentence else "\n".join(lines[-LINES:])}


def dask_setup(worker: object) -> None:
    """Let a worker that was started here not hear Ctrl-C: whoever gave the command does, and ends it in good order.

    Dask calls it where a worker begins (``preload``).

    Args:
        worker: Dask's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def on_worker(
    unit: Unit, asked_with: dict[str, str], key: str, topic: str, expansion: str | None = None
) -> dict[str, Any]:
    """Do a unit as a task of Dask: see :func:`do`."""
    from distributed import get_worker

    worker = get_worker()
    told = [-1]

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        # Of a task that was cancelled, or whose client has gone, a worker forgets the work or notes that.
        return task is not None and task.state in ("executing", "long-running")

    def tell(step: int) -> None:
        if step != told[0]:
            told[0] = step
            worker.log_event(topic, {"unit": key, "step": step})

    return do(unit, asked_with, wanted, tell, expansion) | {"worker": str(worker.address)}


def _of_dask() -> list[str]:
    """Return which variables say how memory is handed out because Dask's own defaults do, and nobody else."""
    try:
        import dask
        import distributed  # noqa: F401  (brings its defaults)
    except ImportError:  # no worker's task
        return []
    defaults = dask.config.get("distributed.nanny.pre-spawn-environ", default=None) or {}
    names = [name for name in defaults if name.startswith(allocation.SAID)]
    return [name for name in names if os.environ.get(name) == str(defaults[name])]


def _threads() -> int:
    """Return on how many threads a unit computes: what the worker's environment says, else its share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        from distributed import get_worker

        return threads_each(int(get_worker().state.nthreads))
    except (ImportError, ValueError):  # no worker's task
        return threads_each(1)


@contextlib.contextmanager
def _folder(digest: str, wanted: Callable[[], bool]) -> Iterator[tuple[Path, Claim | None]]:
    """Lend the folder of a unit: the one that is named by it or, where another process goes on there, a fresh one."""
    shared = _own(Path(tempfile.gettempdir()) / f"gendistill-units-{os.getuid()}")
    if shared is not None:
        _forget_old(shared)
        place = shared / digest
        claim = Claim(place, "working", "wait")
        if _taken(claim, wanted):
            try:
                os.utime(place)
                yield place, claim
            finally:
                claim.release()
            return
    with tempfile.TemporaryDirectory(prefix="gendistill-unit-") as fresh:
        yield Path(fresh), None


def _taken(claim: Claim, wanted: Callable[[], bool]) -> bool:
    """Claim a folder; a run whose worker has died saves there for a while yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            claim.take()
            return True
        except UserError:
            if time.monotonic() > deadline or not wanted():
                return False
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _own(folder: Path) -> Path | None:
    """Return a folder that nobody but this user can read or write, made where it is missing; None: it is another's."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if mine else None


def _forget_old(shared: Path) -> None:
    for entry in shared.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > KEPT_FOR:
                shutil.rmtree(entry, ignore_errors=True)
