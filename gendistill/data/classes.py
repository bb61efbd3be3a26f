"""Class names of two data sets held against each other: the same, in another order, only numbered, or different."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_SETS = ("digits", "mnist", "usps", "svhn")
"""Data sets whose classes really are called 0 to 9; elsewhere such names are mere numbers."""
NUMBERED = re.compile(r"(class|label|category|c|y)?0*(\d+)")
SHOWN = 8
"""Names of a list that are shown in full."""


@dataclass(frozen=True)
class ClassFit:
    """How the classes of one data set stand to those of another with as many.

    Attributes:
        same: Whether they may stand for each other.
        order: For each class of the first its place in the second; None: the same place.
        note: What a person should know of it, a clause with the names of neither data set; None: nothing.
    """

    same: bool
    order: tuple[int, ...] | None = None
    note: str | None = None


def compare_classes(first: Sequence[str], second: Sequence[str], names: tuple[str, str] = ("", "")) -> ClassFit:
    """Hold class names against each other; capitals, separators and numbers before them (``0_cat``) do not count.

    Names that only number the classes (``0``, ``class 1``) name nothing, so that they fit any others in their order,
    but for the digits of :data:`DIGIT_SETS`, which are what they are called.

    Args:
        first: Class names in label order.
        second: As many.
        names: What the two data sets are called.
    """
    if tuple(first) == tuple(second) or not any(first) or not any(second):
        return ClassFit(True)
    keys = [_keys(one) for one in (first, second)]
    if keys[0] == keys[1]:
        return ClassFit(True)
    if set(keys[0]) == set(keys[1]) and len(set(keys[0])) == len(first):
        places = {key: place for place, key in enumerate(keys[1])}
        return ClassFit(True, tuple(places[key] for key in keys[0]), f"come in another order ({listed(first)})")
    # Numbers say nothing beside names; beside other numbers they do.
    nameless = [_only_numbered(one, name) for one, name in zip((first, second), names, strict=True)]
    if nameless[0] != nameless[1]:
        numbered, named = (first, second) if nameless[0] else (second, first)
        return ClassFit(True, None, f"are only numbered on one side ({numbered[0]}, ...) and taken to be, in this "
                        f"order, {listed(named)}")  # fmt: skip
    return ClassFit(False)


def listed(names: Sequence[str]) -> str:
    """Return names as text, of a long list the first and how many there are."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: SHOWN - 2])}, ... ({len(names)} in all)"


def differences(first: Sequence[str], second: Sequence[str]) -> tuple[str, str]:
    """Return both lists of names as text: whole where they are short, else those that only one of them has."""
    if max(len(first), len(second)) <= SHOWN:
        return listed(first), listed(second)
    keys = [_keys(one) for one in (first, second)]
    own = [
        [name for name, key in zip(names, some, strict=True) if key not in others]
        for names, some, others in ((first, keys[0], keys[1]), (second, keys[1], keys[0]))
    ]
    return tuple(f"{listed(some)} among {len(names)}" for some, names in zip(own, (first, second), strict=True))  # type: ignore[return-value]


def _keys(names: Sequence[str]) -> list[str]:
    """Return what names are compared by; the names themselves where that would make two of them the same."""
    bare = [re.sub(rf"^0*{place}[\W_]+(?=\w)", "", name) for place, name in enumerate(names)]
    keys = [_key(name) for name in (bare if all(one != name for one, name in zip(bare, names, strict=True)) else names)]
    return keys if len(set(keys)) == len(names) else list(names)


def _key(name: str) -> str:
    letters = "".join(character for character in name.casefold() if character.isalnum()) or name
    if letters in DIGIT_WORDS:
        return str(DIGIT_WORDS.index(letters))
    numbered = NUMBERED.fullmatch(letters)
    return str(int(numbered[2])) if numbered else letters


def _only_numbered(names: Sequence[str], dataset: str) -> bool:
    if dataset in DIGIT_SETS:
        return False
    found = [NUMBERED.fullmatch("".join(filter(str.isalnum, name.casefold()))) for name in names]
    numbers = [int(match[2]) for match in found if match]
    return numbers in (list(range(len(names))), list(range(1, len(names) + 1)))
