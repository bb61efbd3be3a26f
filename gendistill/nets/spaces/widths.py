"""Learners of one class whose widths are drawn at random."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gendistill.errors import UserError
from gendistill.nets.spaces.base import Choose, LearnerSpace

Range = tuple[int, int]


class WidthSpace(LearnerSpace):
    """One learner class with random widths, named ``width=48`` or ``convolutions=48x200,units=99``.

    Args:
        learner: Dotted path or spec of the learner; its own ``init_args`` are the same for all.
        widths: For each argument ``[low, high]``, both included, or a list of such pairs for an argument that takes a
            list of numbers.

    Raises:
        UserError: A range that is empty, or no range at all.

    Source:
        Such et al. 2020: the authors draw 32 to 127 and 64 to 255 filters and 64 to 255 units.
    """

    def __init__(self, learner: str | Mapping[str, Any], widths: Mapping[str, Any]) -> None:
        given: Mapping[str, Any] = {"class_path": learner} if isinstance(learner, str) else learner
        if "class_path" not in given:
            raise UserError("a space of widths needs a learner: a dotted path, or class_path and init_args")
        self.class_path = str(given["class_path"])
        self.init_args = dict(given.get("init_args") or {})
        if not isinstance(widths, Mapping) or not widths:
            raise UserError("a space of widths needs at least one range, such as {width: [32, 128]}")
        self.listed = {argument: _is_list(argument, value) for argument, value in widths.items()}
        self.ranges: dict[str, list[Range]] = {
            argument: [_range(argument, pair) for pair in (value if self.listed[argument] else [value])]
            for argument, value in widths.items()
        }

    @property
    def size(self) -> int:
        """The product of the numbers of widths."""
        return math.prod(high - low + 1 for ranges in self.ranges.values() for low, high in ranges)

    def compose(self, choose: Choose) -> str:
        """Choose one width after another; see :meth:`LearnerSpace.compose`."""
        words = []
        for argument, ranges in self.ranges.items():
            chosen = [choose(f"{argument}/{place}", range(low, high + 1)) for place, (low, high) in enumerate(ranges)]
            words.append(f"{argument}={'x'.join(map(str, chosen))}")
        return ",".join(words)

    def learner(self, name: str) -> dict[str, Any]:
        """Return the learner of a name; see :meth:`LearnerSpace.learner`."""
        chosen: dict[str, Any] = {}
        for argument, numbers in _words(name):
            listed = self.listed.get(argument)
            values = [int(number) for number in numbers.split("x") if number.isdecimal()]
            if listed is None or len(values) != len(self.ranges[argument]) or numbers.count("x") != len(values) - 1:
                break
            chosen[argument] = values if listed else values[0]
        if list(chosen) != list(self.ranges):
            example = self.compose(lambda _, options: options[0])
            raise UserError(f"'{name}' names no learner of these widths; a name looks like {example}")
        return {"class_path": self.class_path, "init_args": self.init_args | chosen}


def _words(name: str) -> Iterator[tuple[str, str]]:
    for word in name.split(","):
        argument, _, numbers = word.partition("=")
        yield argument, numbers


def _is_list(argument: str, value: Any) -> bool:
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"the widths of '{argument}' are {value!r}; give [low, high] or a list of such pairs")
    return isinstance(value[0], list | tuple)


def _range(argument: str, pair: Any) -> Range:
    whole = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(number) is int for number in pair)
    if not whole or not 1 <= pair[0] <= pair[1]:
        raise UserError(f"a range of '{argument}' is {pair!r}; give [low, high], whole numbers with 1 <= low <= high")
    return int(pair[0]), int(pair[1])
