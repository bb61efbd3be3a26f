"""Checks of options that several trainers share."""

from __future__ import annotations

from collections.abc import Collection

from gendistill.errors import UserError, did_you_mean


def check_counts(**counts: int) -> None:
    """Refuse what is not a whole number from 1.

    Raises:
        UserError: Names the option and its value.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} is {value!r}; give a whole number from 1")


def check_words(**words: tuple[str, Collection[str]]) -> None:
    """Refuse a word that is not among those allowed, each option being given as (word, allowed words).

    Raises:
        UserError: Names the option, the word and what is allowed.
    """
    for name, (word, allowed) in words.items():
        if word not in allowed:
            raise UserError(f"{name} is '{word}'; {did_you_mean(str(word), allowed)}use one of: {', '.join(allowed)}")
