"""What a person sees of a run: a bar on a terminal, plain lines in ``log.txt``."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from gendistill.bars import bar, in_notebook
from gendistill.counter import SECONDS_BETWEEN_LINES, duration
from gendistill.errors import PlaceError, StorageError
from gendistill.files import atomic_write, place_sentence, storage_sentence
from gendistill.visible import visible

STEP = re.compile(r"(?:warning at |interrupted after |continued at |ended after )?step (\d{1,18})\b")
"""Beginning of a log's lines that tell of a step."""


class Progress:
    """Shows how far a run is.

    Args:
        total: Length of the run in steps.
        step: Completed steps.
        log: File that lines are appended to; ``None`` for a process that writes nothing. Lines of later steps, which
            are made again, are taken out of it: a log tells one story, however often a run was interrupted.
        shown: Whether to show anything on stderr.
        name: The run's name.
    """

    def __init__(self, total: int, step: int, log: Path | None, shown: bool, name: str) -> None:
        self._total = total
        self._path = log
        self._file: TextIO | None = None
        self._known: set[str] = set()
        if log is not None:
            self._known = set(_without_later_steps(log, step))
            try:
                self._file = open(log, "a", encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                raise PlaceError(place_sentence(log, error)) from error
        terminal = sys.stderr.isatty() or in_notebook()
        self._bar: Any = None
        if shown and terminal:
            self._bar = bar(total=total, initial=step, desc=visible(name, 60), unit="step")
        self._lines = shown and not terminal
        self._last_line = float("-inf")

    def advance(self) -> None:
        """Count one step."""
        if self._bar is not None:
            self._bar.update(1)

    def again(self) -> None:
        """Count from the first step again."""
        if self._bar is not None:
            self._bar.reset()

    def report(self, step: int, values: Mapping[str, float], rate: float) -> None:
        """Say the metrics at a step.

        Args:
            step: Completed steps.
            values: Metrics by name.
            rate: Steps per second.
        """
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
        left = (self._total - step) / rate if rate > 0 else 0.0
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        line = f"step {step}/{self._total}  {numbers}  {rate:.1f} steps/s  {duration(left)} left"
        now = time.monotonic()
        on_screen = now - self._last_line >= SECONDS_BETWEEN_LINES or step >= self._total
        if on_screen:
            self._last_line = now
        self.say(line, on_screen=on_screen)

    def say(
        self, line: str, *, on_screen: bool = True, above_bar: bool = False, always: bool = False, once: bool = False
    ) -> None:
        """Write a line to the log, and to stderr where there is no bar.

        Args:
            line: The line.
            on_screen: Whether it goes to stderr, too.
            above_bar: Whether it does so even where there is a bar.
            always: Whether it does so even where no progress is to be shown.
            once: Whether the log is spared a line that an earlier part of the run wrote, too.
        """
        line = visible(line)
        if self._file is not None and not (once and line in self._known):
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as error:
                raise StorageError(storage_sentence(str(self._path), error)) from error
        if (self._lines and on_screen) or (always and self._bar is None):
            print(line, file=sys.stderr, flush=True)
        if self._bar is not None and (above_bar or always):
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """End the bar and close the log."""
        if self._bar is not None:
            self._bar.close()
        if self._file is not None:
            self._file.close()


def _without_later_steps(log: Path, step: int) -> list[str]:
    """Take the lines of steps after one out of a log, and end its last line; return what is left."""
    lines = read_log(log)
    left = [line for line in lines if not ((found := STEP.match(line)) and int(found[1]) > step)]
    try:
        whole = not lines or log.read_bytes().endswith(b"\n")
    except OSError:
        whole = True
    if left != lines or not whole:
        atomic_write(log, lambda file: file.write("".join(f"{line}\n" for line in left).encode()))
    return left


def last_step(log: Path) -> int:
    """Return the step of the last line that a run has logged, 0 when there is none."""
    return next((int(found[1]) for line in reversed(read_log(log)) if (found := STEP.match(line))), 0)


def read_log(log: Path) -> list[str]:
    """Return the lines of a log as far as they can be read, none where there is no log."""
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    except OSError:
        return []
