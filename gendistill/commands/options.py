"""An argument parser whose mistakes are one sentence with the nearest right option."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from gendistill.errors import UserError, did_you_mean


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows every default; wide enough for a sentence beside the option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


class Options(argparse.ArgumentParser):
    """``argparse`` that raises :class:`UserError` instead of printing its usage and leaving."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's complaint as one sentence."""
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse all of ``argv``.

        Raises:
            UserError: An unknown option (the nearest right one is named), a missing or a wrong value.
        """
        known = [name for action in self._actions for name in action.option_strings]
        given, unknown = self.parse_known_args(list(argv))
        if unknown:
            word = unknown[0].split("=")[0]
            what = "option" if word.startswith("-") else "argument"
            raise UserError(f"{self.prog} has no {what} '{word}'; {did_you_mean(word, known)}see {self.prog} --help")
        return given


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, which every command with a result takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, all else on stderr")


def positive(text: str) -> int:
    """Read a whole number of at least one."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return number


def positive_list(text: str) -> list[int]:
    """Read ``10,30,100``."""
    return [positive(part.strip()) for part in text.split(",")]


def number_list(text: str) -> list[float]:
    """Read ``0.1,0.01``: positive numbers."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number < float("inf") for number in numbers):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of positive numbers such as 0.1,0.01")
    return numbers
