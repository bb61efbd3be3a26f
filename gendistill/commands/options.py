"""An argument parser whose mistakes are one sentence with the nearest right option."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from gendistill import budget
from gendistill.errors import UserError, did_you_mean
from gendistill.files import require_place
from gendistill.spelling import in_one_spelling, require_one_spelling

WRITTEN = ("output", "report", "page")
"""The options, of whatever command, that name a file or a folder to write."""
RATE_WORDS = ("grid", "teacher", "learned")
"""What stands for learning rates; gendistill.evaluation.rates says what they mean."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows every default; wide enough for a sentence beside the option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


class Options(argparse.ArgumentParser):
    """``argparse`` that raises :class:`UserError` instead of printing its usage and leaving."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("epilog", f"{budget.OPTION} N: let a file that you trust expand to N megabytes")
        super().__init__(formatter_class=_Help, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's complaint as one sentence."""
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help")

    def reword(self, option: str, words: str) -> None:
        """Say something else of an option in ``--help``, where this command takes it for something else."""
        self._option_string_actions[option].help = words

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse all of ``argv``.

        Returns:
            The values; beside them ``explicit``, the names of those that were on the command line.

        Raises:
            UserError: An unknown option (the nearest right one is named), a missing or a wrong value, or a place for
                results where nothing can be written.
        """
        known = [name for action in self._actions for name in action.option_strings]
        argv = self._in_one_spelling(argv)
        given, unknown = self.parse_known_args(argv)
        # argparse sets a default only where there is nothing yet: what is still unset was not on the command line.
        unset = object()
        marked = argparse.Namespace(**{action.dest: unset for action in self._actions})
        words = vars(self.parse_known_args(argv, marked)[0])
        given.explicit = {name for name, value in words.items() if value is not unset}
        if unknown:
            word = unknown[0].split("=")[0]
            what = "option" if word.startswith("-") else "argument"
            raise UserError(f"{self.prog} has no {what} '{word}'; {did_you_mean(word, known)}see {self.prog} --help")
        self._require_places(given)
        return given

    def _in_one_spelling(self, argv: Sequence[str]) -> list[str]:
        """Return the words with every option as it is listed: configs write ``--data.image_size``, and ``_`` for ``-``.

        Raises:
            UserError: One option stands there in two spellings.
        """
        words: list[str] = []
        typed: list[str] = []
        for place, word in enumerate(argv):
            if word == "--":
                return [*words, *argv[place:]]
            option, equals, value = word.partition("=")
            listed = in_one_spelling(option) if option.startswith("--") else option
            if listed in self._option_string_actions:
                typed.append(option)
                words.append(f"{listed}{equals}{value}")
            else:
                words.append(word)
        require_one_spelling(word for word in typed if word.startswith("--"))
        return words

    def _require_places(self, given: argparse.Namespace) -> None:
        """Refuse places where nothing can be written: now, and not when the work is done."""
        for action in self._actions:
            place = getattr(given, action.dest, None)
            if action.dest in WRITTEN and isinstance(place, str) and place:
                require_place(place, folder=action.metavar == "DIR")


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


def or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let an option of the data be ``none``: as it is without it, also where a teacher remembers another value."""

    def either(text: str) -> Any:
        return "none" if text.lower() == "none" else read(text)

    either.__name__ = read.__name__  # what argparse calls it in a complaint
    return either


def update_list(text: str) -> list[int]:
    """Read ``0,10,100``: numbers of updates."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole numbers such as 10,30,100")
    return numbers


def momentum(text: str) -> float | list[float]:
    """Read ``0.9``, or ``0.85,0.95``: the lowest and the highest of a cycle."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number, or two such as 0.85,0.95")
    return numbers if len(numbers) == 2 else numbers[0]


def named_numbers(text: str) -> dict[str, float]:
    """Read ``rotate=45,shift=0.1``."""
    numbers: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{part}' is not a name and a number, such as rotate=45") from None
    return numbers


def image_number(text: str) -> int | str:
    """Read ``50000``, ``train`` or ``fresh``: how many images stand for a teacher that makes them without end."""
    return text if text in ("train", "fresh") else positive(text)


def rate_list(text: str) -> list[float | str]:
    """Read ``0.1,0.01``: positive learning rates, ``grid``, ``teacher`` or ``learned``."""
    rates: list[float | str] = []
    for part in text.split(","):
        if part in RATE_WORDS:
            rates.append(part)
            continue
        try:
            rates.append(float(part))
        except ValueError:
            rates.append(0.0)
        if not 0 < float(rates[-1]) < float("inf"):
            raise argparse.ArgumentTypeError(f"'{part}' is not a positive number or one of: {', '.join(RATE_WORDS)}")
    return rates


def whole_number(own: Mapping[str, str | None], option: str) -> int | None:
    """Return the value of a command's own option that counts something, None where it is not given.

    Raises:
        UserError: It is no whole number from 1.
    """
    number = own.get(option)
    if number is None:
        return None
    if not number.isdecimal() or int(number) < 1:
        raise UserError(f"{option} is '{number}'; give a whole number of at least 1")
    return int(number)
