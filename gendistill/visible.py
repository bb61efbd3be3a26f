"""Text of others, as a terminal, a log and a table may show it.

Names come from files and folders of others. A control character in one moves the cursor, changes colours or titles of a
terminal, or begins a line of its own; one that turns the direction of writing lets a name look like another. They are
written as JSON writes them, ``\\u001b``, so that a person sees them and a program that reads our JSON reads the same.
"""

from __future__ import annotations

import contextlib
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

LAYOUT = "\n\t"
"""What a text of several lines is laid out with."""
JOINERS = "\u200c\u200d"
"""Belong to the spelling of Persian words and of emoji; behind ASCII letters they only make two names look alike."""
LONGEST_SENTENCE = 4_000
"""Characters of a sentence that are shown, whatever names are in it."""

_hidden: dict[str, str] = {}
PLAIN = re.compile(r"[ -~]*")
MOVES = re.compile("(\x1b\\[A)*")


def visible(text: str, limit: int | None = None) -> str:
    """Return text on one line in which every character is seen; line breaks, tabs and control characters are spelt.

    Args:
        text: A name, or a sentence that holds names.
        limit: Characters to show, at least 8; the middle of a longer text is left out. None: all.
    """
    text = _shortened(text, limit)
    return text if PLAIN.fullmatch(text) else _shortened(_spelt(text, ""), limit)


def sentence(text: str) -> str:
    """Return what is said to a person as one line: spaces for line breaks, all else as :func:`visible`."""
    return visible(" ".join(text.split()), LONGEST_SENTENCE)


def seen(value: Any) -> Any:
    """Return a nested plain value, such as a result, in which every text and every key is :func:`visible`."""
    if isinstance(value, str):
        return visible(value, LONGEST_SENTENCE)
    if isinstance(value, dict):
        return {seen(key): seen(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [seen(one) for one in value]
    return value


def lines(text: str) -> str:
    """Return text of several lines with its line breaks and tabs, all else as :func:`visible`."""
    return text if PLAIN.fullmatch(text) else _spelt(text, LAYOUT)


def _shortened(text: str, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[len(text) - half :]}"


def _spelt(text: str, layout: str) -> str:
    shown, before = [], ""
    for one in text:
        joins = one in JOINERS and not before.isascii()
        shown.append(one if one in layout or joins else _seen(one))
        before = one
    return "".join(shown)


def _seen(character: str) -> str:
    known = _hidden.get(character)
    if known is None:
        category = unicodedata.category(character)
        hides = category in ("Cc", "Cf", "Cs", "Zl", "Zp")
        code = ord(character)
        known = character
        if hides and code > 0xFFFF:  # two halves, as JSON has it
            high, low = divmod(code - 0x10000, 0x400)
            known = f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
        elif hides:
            known = f"\\u{code:04x}"
        _hidden[character] = known
    return known


class Guarded:
    """A stream to a terminal or a pipe that writes what is :func:`visible`.

    Bars and counters of ours begin what they write by going back to the start of the line, or write nothing but moves
    to the line above; no other text moves the cursor.

    Args:
        stream: Where it writes to.

    Attributes:
        within_line: Whether what was written last did not end its line, as after a ``print`` that a signal cut short.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.within_line = False

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        if not MOVES.fullmatch(text):
            self.within_line = not text.endswith(("\n", "\r"))  # first: a signal may come before all is written
            start = "\r" if text.startswith("\r") else ""
            self._stream.write(start + lines(text.removeprefix(start)))
        else:
            self._stream.write(text)
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write several texts."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let all that is printed inside be visible, whoever prints it."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, Guarded(stream)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
