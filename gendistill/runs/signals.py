"""Stopping politely: the first signal ends the work in its own good order, the second one at once.

A run ends after its current step (:class:`StopSignals`). Other work is left where it is (:func:`obeyed`), which keeps
the parts that are finished, and says how to go on (:func:`going_on`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, NoReturn

from gendistill.errors import GendistillError

SAME_SIGNAL = 0.5
"""Seconds in which another signal is the first one over again: a terminal and a parent process may both send it."""
_unanswered: list[int] = []
"""Signals that :func:`obeyed` raised and that have not ended anything yet. Where work goes on beside them they were
swallowed: packages catch everything while they are imported, and so do callbacks out of C."""
OPEN = [file for file in (1, 2) if os.isatty(file)]
"""The terminal's, as long as there is one."""


class Interrupted(GendistillError):
    """The work was told to stop by a signal.

    Attributes:
        exit_code: 130 after SIGINT (Ctrl-C), 143 after SIGTERM, 129 after SIGHUP (the terminal was closed).
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class Told(KeyboardInterrupt):
    """A signal, raised wherever the work is; no handler of errors takes it for one."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def numbers() -> list[int]:
    """Return the signals that end work: SIGINT, SIGTERM, and SIGHUP unless it is ignored, as nohup has it."""
    hangups: list[int] = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    return [signal.SIGINT, signal.SIGTERM, *(one for one in hangups if signal.getsignal(one) != signal.SIG_IGN)]


def let_go_of_terminal(number: int) -> None:
    """Write no more to a terminal that was closed: every line would be an error."""
    if number == getattr(signal, "SIGHUP", None):
        for file in OPEN:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), file)


class StopSignals:
    """Context manager that notes SIGINT, SIGTERM and SIGHUP instead of dying of them.

    Args:
        grace: Seconds after the first signal in which more of them count as the same one. torchrun passes on a Ctrl-C
            that the terminal has already sent to every process, so each of them gets it twice.
    """

    def __init__(self, grace: float = 0.0) -> None:
        self.received = 0
        self._grace = grace
        self._first = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Only the main thread may set handlers; elsewhere signals keep the meaning that the host program gave them.
        if threading.current_thread() is threading.main_thread():
            for number in numbers():
                self._previous[number] = signal.signal(number, self._note)
            if _unanswered:  # it came before, and somebody swallowed it
                self.received, self._first = _unanswered[0], time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # Not one that somebody inside has replaced: a process that lost another one listens no more.
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        let_go_of_terminal(number)
        if not self.received:
            self.received = number
            self._first = time.monotonic()
        elif time.monotonic() - self._first >= self._grace:
            raise Interrupted(number, "stopped at once by a second signal; the last saved state is kept")


@contextlib.contextmanager
def obeyed() -> Iterator[None]:
    """Let a signal raise :class:`Told` inside, and a second one end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        let_go_of_terminal(number)
        if not first:
            first.append(time.monotonic())
            _unanswered.append(number)
            raise Told(number)
        if time.monotonic() - first[0] >= SAME_SIGNAL:
            with contextlib.suppress(OSError):
                os.write(2, b"error: stopped at once by a second signal\n")
            os._exit(128 + number)

    before = {number: signal.signal(number, handle) for number in numbers()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        _unanswered.clear()


def unanswered() -> int | None:
    """Return the signal that :func:`obeyed` raised and that has not ended anything, if there is one.

    Packages that are imported swallow it, or make another error of it.
    """
    return _unanswered[0] if _unanswered else None


def raise_swallowed() -> None:
    """Raise a signal again that :func:`obeyed` raised and that somebody's code has swallowed, if there is one.

    Raises:
        Told: There is one.
    """
    if (number := unanswered()) is not None:
        raise Told(number)


@contextlib.contextmanager
def going_on(how: Callable[[], str]) -> Iterator[None]:
    """Let a signal inside end the work with a sentence on what is kept and how to go on.

    Args:
        how: Returns it, without a full stop.

    Raises:
        Interrupted: A signal came.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        number = stop.signal_number if isinstance(stop, Told) else signal.SIGINT
        _unanswered.clear()
        raise Interrupted(number, f"interrupted; {how()}") from stop


def leave(code: int) -> NoReturn:
    """End the process; of one that was interrupted not even the threads that are still at work are waited for."""
    others = [one for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
    if code > 128 and others:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
