"""Several commands of this program at once, each in a process of its own, watched by one.

Small networks cannot keep two cores busy with one operation, but two runs can keep one core busy each; and a run that
computes on one core does not wait for threads that other programs have pushed aside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from tqdm import tqdm

from gendistill.errors import GendistillError, UserError
from gendistill.runs.signals import Interrupted, let_go_of_terminal, numbers

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class Lane:
    """Commands that follow one another, and how to see how far they are.

    Attributes:
        name: What the progress calls it.
        commands: Each the words after ``gendistill``.
        total: Steps of all of them together.
        done: Returns the steps completed so far, also by an earlier call.
    """

    name: str
    commands: Sequence[Sequence[str]]
    total: int
    done: Callable[[], int]


def run_side_by_side(lanes: Sequence[Lane], threads: int | None = None) -> None:
    """Run all lanes at once to their ends.

    SIGINT, SIGTERM and SIGHUP are passed on, so that every run saves its state; so it does when this process dies.

    Args:
        lanes: What is run.
        threads: On which each computes; None: see :func:`threads_each`.

    Raises:
        GendistillError: A command failed: its own sentence and exit code. The other lanes have saved their states.
        Interrupted: A signal came.
    """
    running = [_Running(lane, threads or threads_each(len(lanes))) for lane in lanes]
    try:
        with _passed_on(running) as received, _shown(lanes) as show:
            while any([one.goes_on(stopping=bool(received)) for one in running]):
                show()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            show()
    finally:
        for one in running:
            one.stop()
    if received:
        raise Interrupted(received[0], "interrupted and saved; give the same command again to continue")


def threads_each(lanes: int) -> int:
    """Return on how many threads each of several lanes computes.

    A core each, two at most: that is where networks of this size stop getting faster.
    """
    return min(2, max(1, (os.cpu_count() or 1) // lanes))


def started(
    words: Sequence[str],
    threads: int,
    errors: IO[bytes],
    inherited: Sequence[int] = (),
    without: Collection[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own, which saves and ends when this process does.

    Args:
        words: Those after ``gendistill``.
        threads: On which it computes.
        errors: Where its stderr goes.
        inherited: Open files that stay open as long as it runs.
        without: Variables of this process's environment that it does not get.
    """
    kept = {name: value for name, value in os.environ.items() if name not in without}
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", __name__, *words],
        env={**kept, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=inherited,
        # Out of the terminal's group: a Ctrl-C then reaches it once, through this process, and not twice.
        start_new_session=True,
    )


def sentence_of(errors: str) -> str | None:
    """Return the sentence that a command ended with, of all that it wrote to stderr; None where there is none."""
    said = [line.removeprefix("error: ") for line in errors.splitlines() if line.startswith("error: ")]
    return said[-1] if said else None


class _Running:
    """A lane in progress: one process at a time."""

    def __init__(self, lane: Lane, threads: int) -> None:
        self.lane = lane
        self.waiting = list(lane.commands)
        self.process: subprocess.Popen[bytes] | None = None
        self.threads = threads

    def goes_on(self, stopping: bool) -> bool:
        """See to the process, start the next command when it has ended, and return whether anything is left."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return True
            self.process = None
            if code and not stopping:
                raise self.failure(code)
        if stopping or not self.waiting:
            return False
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = started(self.waiting.pop(0), self.threads, self.errors)
        return True

    def failure(self, code: int) -> GendistillError:
        """Return what the command said when it failed."""
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        said = sentence_of(text)
        if said is None:
            sys.stderr.write(text)
            return GendistillError(f"the run of {self.lane.name} ended with exit code {code}")
        return UserError(said) if code == UserError.exit_code else GendistillError(said)

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self.process is not None:
            self.process.send_signal(number)

    def stop(self) -> None:
        """End the process, if there is one, in its own good order."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


@contextlib.contextmanager
def _passed_on(running: Sequence[_Running]) -> Iterator[list[int]]:
    """Pass SIGINT, SIGTERM and SIGHUP on to all lanes; the list holds what came."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        let_go_of_terminal(number)
        received.append(number)
        for one in running:
            one.signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, handle) for number in numbers()}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _shown(lanes: Sequence[Lane]) -> Iterator[Callable[[], None]]:
    """Give a function that shows how far each lane is: bars on a terminal, a line now and then elsewhere."""
    last = time.monotonic()
    width = max(len(lane.name) for lane in lanes)
    bars = [
        tqdm(total=lane.total, desc=f"      {lane.name:<{width}}", unit="step", position=place, initial=lane.done())
        for place, lane in enumerate(lanes)
        if sys.stderr.isatty()
    ]

    def show() -> None:
        nonlocal last
        for bar, lane in zip(bars, lanes, strict=False):
            bar.update(lane.done() - bar.n)
        if not bars and time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print("      " + "   ".join(f"{lane.name} {lane.done()}/{lane.total}" for lane in lanes), flush=True)

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


def _end_with_parent() -> None:
    """Wait for the end of stdin, which comes when the process that watches this one dies, and save and stop."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from gendistill.cli import program

    threading.Thread(target=_end_with_parent, daemon=True).start()
    program(sys.argv[1:])
