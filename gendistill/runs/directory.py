"""The directory of a run: which file is where, and whose it is."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from gendistill.claims import Claim
from gendistill.errors import PlaceError, UserError
from gendistill.files import atomic_write, place_sentence, remove_leftovers
from gendistill.regular import read_text
from gendistill.yaml_file import dump_yaml, parse_yaml

INCOMING = ".state.incoming.pt"
EARLIER, DISCARDED = ".earlier", ".discarded"
"""Where an earlier run lies that is to be discarded, until the one in its place has begun, and afterwards."""
WAY_OUT = "choose another run.name"


class RunDirectory:
    """Paths of one run.

    Args:
        root: Directory that holds all runs.
        name: Directory of this run below it.
    """

    def __init__(self, root: str | Path, name: str) -> None:
        self.path = Path(root) / name
        names = (path.name for path in (*self._files(), self.path / INCOMING))
        self._claim = Claim(self.path, "training", WAY_OUT, names)
        self._found: frozenset[Path] | None = None
        self._made: list[Path] = []

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> Path:
        """The complete configuration; it alone repeats the run."""
        return self.path / "config.yaml"

    @property
    def state(self) -> Path:
        """The latest saved state."""
        return self.path / "state.pt"

    @property
    def previous_state(self) -> Path:
        """The saved state before the latest."""
        return self.path / "state.previous.pt"

    @property
    def damaged_state(self) -> Path:
        """A saved state that could not be read, put aside for the one before it."""
        return self.path / "state.damaged.pt"

    @property
    def teacher(self) -> Path:
        """What was learned so far."""
        return self.path / "teacher.safetensors"

    @property
    def best_state(self) -> Path:
        """The state of the best teacher (``run.keep_best``); in the place of :attr:`state` the run goes on from it."""
        return self.path / "best.pt"

    @property
    def best_teacher(self) -> Path:
        """The teacher that was best on the validation split."""
        return self.path / "best.safetensors"

    @property
    def before(self) -> Path:
        """Directory of what was learned before the first step, until a state is saved; see ``head_start.py``."""
        return self.path / "before"

    @property
    def samples(self) -> Path:
        """Directory of the pictures, or of a text's sentences in words."""
        return self.path / "samples"

    @property
    def log(self) -> Path:
        """Plain lines of progress."""
        return self.path / "log.txt"

    @property
    def results(self) -> Path:
        """What evaluators found."""
        return self.path / "results.json"

    @property
    def has_state(self) -> bool:
        """Whether a state was saved; killed between the two renames of a save, only the previous one is there."""
        return self.state.exists() or self.previous_state.exists()

    def make(self) -> None:
        """Make the directory.

        Raises:
            StorageError: It cannot be made.
        """
        try:
            self._found = frozenset(self.path.iterdir()) if self.path.is_dir() else frozenset()
            self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlaceError(place_sentence(self.path, error)) from error

    def lock(self) -> None:
        """Claim the directory for this process until :meth:`unlock` or the process's end, however it ends.

        Raises:
            PlaceError: Nothing can be written there, or something else lies where a run has a file.
            UserError: Another process is training here.
        """
        self._claim.take()
        for folder, what in ((self.samples, "pictures are"), (self.before, "what is learned before the first step is")):
            if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
                raise PlaceError(f"'{folder}' is no folder, and {what} written there; take it away, or {WAY_OUT}")

    def unlock(self) -> None:
        """Give the directory free."""
        self._claim.release()

    def leave_as_found(self) -> None:
        """Take away what this process wrote before the run began: a refused command leaves nothing behind."""
        if self._found is None:
            return
        for path in {*self._files(), *self.path.glob("events.out.tfevents.*")} - self._found:
            with contextlib.suppress(OSError):
                path.unlink()
        if self.before not in self._found:
            self.forget_before()
        for folder in self._made:
            with contextlib.suppress(OSError):  # something of others has come into it
                folder.rmdir()

    def forget_before(self) -> None:
        """Delete what was learned before the first step, which a saved state holds."""
        if self.before.is_dir() and not self.before.is_symlink():
            shutil.rmtree(self.before, ignore_errors=True)

    def put_aside(self) -> None:
        """Move what an earlier run wrote here out of the way, until :meth:`discard` or :meth:`put_back`.

        Files that no run writes stay.

        Raises:
            StorageError: It cannot be moved.
        """
        found = [*self._files(), *self.path.glob("events.out.tfevents.*"), *self.path.glob("failure-*.txt")]
        if self.samples.is_dir():
            found += [path for ending in ("png", "txt", "gif") for path in self.samples.glob(f"*.{ending}")]
        aside = self.path / EARLIER
        try:
            for path in found:
                if path.is_file() or path.is_symlink():
                    target = aside / path.relative_to(self.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)
        except OSError as error:
            raise PlaceError(place_sentence(aside, error)) from error
        with contextlib.suppress(OSError):
            self.samples.rmdir()

    def put_back(self) -> None:
        """Let the earlier run be here again: the one in its place has not begun."""
        aside = self.path / EARLIER
        if aside.is_symlink() or not aside.is_dir():
            return
        for path in sorted(aside.rglob("*")):
            if path.is_file() or path.is_symlink():
                target = self.path / path.relative_to(aside)
                with contextlib.suppress(OSError):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)
        for folder in (aside / self.samples.name, aside):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def discard(self) -> None:
        """Delete the earlier run that was put aside."""
        aside, last = self.path / EARLIER, self.path / DISCARDED
        # Renamed first: killed on the way, half of a run is not put back.
        with contextlib.suppress(OSError):
            aside.replace(last)
        if not last.is_symlink():
            shutil.rmtree(last, ignore_errors=True)

    def _files(self) -> tuple[Path, ...]:
        """Return the files that every run has."""
        states = (self.state, self.previous_state, self.damaged_state)
        best = (self.best_state, self.best_teacher)
        return (*states, *best, self.teacher, self.log, self.results, self.config)

    def sweep(self) -> None:
        """Delete what a killed process left half written, and put back what it had put aside before it began."""
        self.put_back()
        shutil.rmtree(self.path / DISCARDED, ignore_errors=True)
        (self.path / INCOMING).unlink(missing_ok=True)
        remove_leftovers(self.path)
        remove_leftovers(self.samples)
        remove_leftovers(self.before)
        if self.has_state:  # killed between a save and what follows it
            self.forget_before()

    def write_config(self, config: dict[str, Any]) -> None:
        """Write ``config.yaml``.

        Raises:
            StorageError: It cannot be written.
        """
        atomic_write(self.config, lambda file: file.write(dump_yaml(config).encode()))

    def read_config(self) -> dict[str, Any] | None:
        """Return what ``config.yaml`` holds, ``None`` when there is none.

        Raises:
            UserError: The file cannot be read as YAML.
        """
        if not self.config.exists():
            return None
        try:
            config = parse_yaml(read_text(self.config), str(self.config))
        except (OSError, ValueError, UserError) as error:
            raise UserError(
                f"'{self.config}' is not a readable YAML file; restore it, or start with run.fresh true"
            ) from error
        if not isinstance(config, dict):
            raise UserError(f"'{self.config}' does not hold a configuration; restore it, or start with run.fresh true")
        return config
