"""Stopping politely: the first signal ends the run after the current step, the second one at once."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from gendistill.errors import GendistillError


class Interrupted(GendistillError):
    """The run was told to stop by a signal.

    Attributes:
        exit_code: 130 after SIGINT (Ctrl-C), 143 after SIGTERM.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class StopSignals:
    """Context manager that notes SIGINT and SIGTERM instead of dying of them.

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
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = number
            self._first = time.monotonic()
        elif time.monotonic() - self._first >= self._grace:
            raise Interrupted(number, "stopped at once by a second signal; the last saved state is kept")
