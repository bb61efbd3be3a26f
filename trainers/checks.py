"""Checks of options that several trainers share."""

from __future__ import annotations

import math
from collections.abc import Collection

from gendistill.errors import UserError, did_you_mean
from gendistill.teacher.base import LARGEST_RATE, SMALLEST_RATE, rates_at_fault


def check_counts(**counts: int) -> None:
    """Refuse what is not a whole number from 1.

    Raises:
        UserError: Names the option and its value.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} is {value!r}; give a whole number from 1")


def check_learned_rate(learning_rate: float) -> None:
    """Refuse a rate with which learners would not move, or diverge, from the first step on.

    Raises:
        UserError: Names the option, its value and what is wrong with it.
    """
    if not math.isfinite(learning_rate) or learning_rate <= 0 or rates_at_fault(learning_rate, learning_rate):
        raise UserError(
            f"learning_rate is {learning_rate:g}; give a positive rate of learners, {SMALLEST_RATE:g} to "
            f"{LARGEST_RATE:g} (--trainer.learning_rate)"
        )


def check_words(**words: tuple[str, Collection[str]]) -> None:
    """Refuse a word that is not among those allowed, each option being given as (word, allowed words).

    Raises:
        UserError: Names the option, the word and what is allowed.
    """
    for name, (word, allowed) in words.items():
        if word not in allowed:
            raise UserError(f"{name} is '{word}'; {did_you_mean(str(word), allowed)}use one of: {', '.join(allowed)}")
