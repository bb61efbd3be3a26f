"""What gRPC's C library writes to stderr: a refused handshake becomes one line of the log, the rest passes.

The library tells the reason of a refused certificate nobody but stderr, past Python. So file descriptor 2 is a pipe
while a server runs, and Python's own stderr goes where it always went.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

HANDSHAKE = re.compile(rb"[Hh]andshake failed.*?(?::\s*)([^:]+)$")
REASONS = {
    "certificate has expired": "its certificate has expired",
    "certificate signature failure": "its certificate is not signed by this run's authority",
    "unable to get local issuer certificate": "its certificate is not signed by this run's authority",
    "self signed certificate in certificate chain": "its certificate is not signed by this run's authority",
    "certificate is not yet valid": "its certificate is not valid yet",
}
SAME = 10.0
"""Seconds within which the same refusal is the same one."""
OURS = re.compile(rb"^[IWE]\d{4} \d\d:\d\d:\d\d|^WARNING: All log messages before absl")


class CoreLog:
    """Reads what is written to file descriptor 2.

    Args:
        say: Is given one line for each refused handshake.
    """

    def __init__(self, say: Callable[[str], Any]) -> None:
        self._say = say
        self._kept: int | None = None
        self._stderr: TextIO | None = None
        self._reader: threading.Thread | None = None
        self._told: dict[str, float] = {}

    def begin(self) -> None:
        """Put the pipe in the place of stderr."""
        self._kept = os.dup(2)
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        if sys.stderr is not None and _is_descriptor_2(sys.stderr):
            self._stderr = sys.stderr
            sys.stderr = os.fdopen(os.dup(self._kept), "w", buffering=1)
        self._reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
        self._reader.start()

    def end(self) -> None:
        """Put stderr back."""
        if self._kept is None:
            return
        os.dup2(self._kept, 2)  # the last end of the pipe that is written to is closed by this
        if self._reader is not None:
            self._reader.join(2)
        if self._stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.close()
            sys.stderr, self._stderr = self._stderr, None
        os.close(self._kept)
        self._kept = None

    def _read(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as pipe:
            for line in pipe:
                if found := HANDSHAKE.search(line.rstrip()):
                    reason = found[1].decode(errors="replace").strip()
                    self._tell(f"refused a connection: {REASONS.get(reason, f'the handshake failed ({reason})')}")
                elif not OURS.match(line) and self._kept is not None:
                    with contextlib.suppress(OSError):
                        os.write(self._kept, line)

    def _tell(self, line: str) -> None:
        """Say a line; who is refused tries several times, which is one refusal."""
        now = time.monotonic()
        if now - self._told.get(line, -math.inf) > SAME:
            self._say(line)
        self._told[line] = now


def _is_descriptor_2(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False
