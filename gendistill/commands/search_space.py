"""The options of a search and their values as they are typed: lists for a grid, ranges for Optuna."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from gendistill.errors import UserError

MOST = 1000
"""Trials of a grid, at most: more are a slip of the pen."""


@dataclass(frozen=True)
class Axis:
    """One option that is searched.

    Attributes:
        option: As on the command line without dashes: ``trainer.lr_images``.
        values: What it may be, as text; empty for a range.
        low: Lower end of a range.
        high: Upper end.
        log: Whether the range is searched by ratios.
        whole: Whether its values are whole numbers.
    """

    option: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def suggest(self, trial: Any) -> str:
        """Return the value that an Optuna trial takes, as text."""
        if self.values:
            return str(trial.suggest_categorical(self.option, list(self.values)))
        if self.whole:
            return str(trial.suggest_int(self.option, int(self.low), int(self.high), log=self.log))
        return format(trial.suggest_float(self.option, self.low, self.high, log=self.log), ".6g")


def axis(text: str) -> Axis:
    """Read one ``--over``: ``KEY=V,V,...``, ``KEY=LOW..HIGH`` or ``KEY=LOW..HIGH:log``.

    Raises:
        UserError: It is none of them.
    """
    option, equals, given = text.partition("=")
    option = option.removeprefix("--")
    hint = "--over trainer.inner.steps=1,2,5, or with --search optuna --over trainer.lr_images=0.1..10:log"
    if not option or not equals or not given:
        raise UserError(f"--over is '{text}'; give an option and different values of it, such as {hint}")
    if ".." in given:
        return _range(option, given, text, hint)
    values = split_values(given)
    if not all(values) or len(set(values)) < len(values):
        raise UserError(f"--over is '{text}'; give an option and different values of it, such as {hint}")
    return Axis(option, tuple(values))


def _range(option: str, given: str, text: str, hint: str) -> Axis:
    ends, colon, how = given.partition(":")
    low_text, _, high_text = ends.partition("..")
    try:
        low, high = float(low_text), float(high_text)
    except ValueError as error:
        raise UserError(f"--over is '{text}', whose ends are no numbers; give such as {hint}") from error
    if (colon and how != "log") or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"--over is '{text}'; a range goes from a lower number to a higher one: {hint}")
    if how == "log" and low <= 0:
        raise UserError(f"--over is '{text}', but ratios need numbers above 0; leave ':log' out, or begin above 0")
    whole = all(part.strip().lstrip("+-").isdigit() for part in (low_text, high_text))
    return Axis(option, (), low, high, how == "log", whole)


def split_values(text: str) -> list[str]:
    """Return values between commas; those inside of brackets belong to their value."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def axes(texts: Sequence[str]) -> list[Axis]:
    """Read all ``--over``.

    Raises:
        UserError: One cannot be read, or an option is named twice.
    """
    found = [axis(text) for text in texts]
    names = [one.option for one in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--over names '{twice[0]}' twice; give all its values in one: --over {twice[0]}=V,V")
    return found


def grid(found: Sequence[Axis]) -> list[Mapping[str, str]]:
    """Return every combination of values, the last option's changing fastest.

    Raises:
        UserError: An option has a range, or there are too many.
    """
    if ranges := [one.option for one in found if not one.values]:
        raise UserError(f"--over gives '{ranges[0]}' a range, of which a grid knows no values; add --search optuna")
    count = math.prod(len(one.values) for one in found)
    if count > MOST:
        raise UserError(
            f"a grid of {count:,} trials is more than {MOST:,}; give fewer values, or --search optuna --trials 50"
        )
    return [
        {one.option: value for one, value in zip(found, values, strict=True)}
        for values in product(*(one.values for one in found))
    ]
