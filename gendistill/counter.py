"""How far work has come that is no run: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from gendistill.bars import bar, in_notebook
from gendistill.visible import visible

SECONDS_BETWEEN_LINES = 10.0
"""How often a line is said where there is no terminal."""


class Counter:
    """Says on stderr how much is done, with the time that is left.

    Args:
        what: What is being done.
        unit: What is counted, in the plural.
        after: Seconds for which nothing is said, so that work which seldom takes long is silent where it does not.
    """

    def __init__(self, what: str, unit: str, after: float = 0.0) -> None:
        self.what, self.unit, self.after = visible(what, 60), unit, after
        self._terminal = sys.stderr.isatty()
        self._notebook = in_notebook()
        self._bar: Any = None
        self._width = 0
        self._begin()

    def about(self, what: str) -> Counter:
        """Return one that counts the same unit of something else."""
        return Counter(what, self.unit, self.after)

    def _begin(self) -> None:
        self._started = self._said = time.monotonic()
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` are done; none, or fewer than the last time, begins anew."""
        if done == 0 or done < self._done:
            self._begin()
        now = time.monotonic()
        if now - self._started < self.after:
            return
        if self._notebook:
            self._in_notebook(done, total)
            return
        self._done = done
        left = duration((now - self._started) * (total - done) / done) if done else "?"
        line = f"{self.what}: {done:,} of {total:,} {self.unit}" + (f", {left} left" if done < total else "")
        if self._terminal:
            end = "\n" if done >= total else ""
            print("\r" + line.ljust(self._width), end=end, file=sys.stderr, flush=True)
            self._width = len(line)
        elif now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            print(line, file=sys.stderr, flush=True)

    def _in_notebook(self, done: int, total: int) -> None:
        """Move a bar, which a notebook draws."""
        if self._bar is None:
            self._bar = bar(total=total, initial=done, desc=self.what, unit=self.unit)
        if not self._done:
            self._bar.reset(total)
        self._bar.update(done - self._done)
        self._done = done
        if done >= total:
            self._bar.close()
            self._bar = None


def duration(seconds: float) -> str:
    """Return a length of time as ``1:02:03``, hours first."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
