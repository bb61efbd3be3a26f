"""What a person should know and need not act on: said once, on stderr, and handed to whoever keeps a log."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gendistill import visible
from gendistill.plain import readable

_said: set[str] = set()
_listeners: list[list[str]] = []


def note(sentence: str) -> None:
    """Say a sentence on stderr, once in a command, and only in the first of several processes.

    Args:
        sentence: Without a full stop.
    """
    sentence = visible.sentence(readable(sentence))
    for kept in _listeners:
        if sentence not in kept:
            kept.append(sentence)
    if sentence not in _said and os.environ.get("RANK", "0") == "0":
        print(f"note: {sentence}", file=sys.stderr, flush=True)
    _said.add(sentence)


def begin() -> None:
    """Begin anew: what was said before may be said again."""
    _said.clear()


@contextmanager
def collected() -> Iterator[list[str]]:
    """Give the list of the sentences that are said inside, also of those that were said before."""
    kept: list[str] = []
    _listeners.append(kept)
    try:
        yield kept
    finally:
        _listeners.remove(kept)
