"""Errors that a person can act on, and the exit codes that go with them.

Every error that reaches the command line as one sentence is one of these. The sentence says what was given, what is
allowed and how to fix it. Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GendistillError(Exception):
    """The program could not do what was asked; the message is one sentence for a person."""

    exit_code = 1


class UserError(GendistillError):
    """The user's mistake: a bad file, key, shape or value."""

    exit_code = 2


class StorageError(GendistillError):
    """A file could not be written (full disk, no permission); what was there before is intact."""


class PlaceError(StorageError, UserError):
    """Nothing can be written to the place that was named; found before any work."""

    exit_code = 2


class DivergenceError(GendistillError):
    """A loss became NaN or infinite; the last good state is kept."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return ``"did you mean 'x'? "`` for the nearest allowed word, or an empty string when none is near.

    Args:
        given: The unknown word.
        allowed: The words that would have been accepted.
    """
    nearest = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f"did you mean '{nearest[0]}'? " if nearest else ""
