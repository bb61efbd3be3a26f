"""An argument parser whose mistakes are one sentence with the nearest right option."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from gendistill import budget
from gendistill.errors import UserError, did_you_mean
from gendistill.files import require_place
from gendistill.spelling import in_one_spelling, require_one_spelling

WRITTEN = ("output", "report", "page", "export")
"""The options, of whatever command, that name a file or a folder to write."""
NOTHING = re.compile(r"; None: (.+)$")
"""How the help of an option says what happens where it is not given."""
RATE_WORDS = ("grid", "teacher", "learned")
"""What stands for learning rates; gendistill.evaluation.rates says what they mean."""


class _Help(argparse.HelpFormatter):
    """Shows every default as it would be typed; wide enough for a sentence beside the option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Return what an option means, and its default; of one without a default, what happens without it."""
        text = NOTHING.sub(r" (default: \1)", action.help or "")
        shown = action.default
        if not action.option_strings or text != action.help or "%(default)" in text:
            return text
        if shown is None or shown is False or shown is argparse.SUPPRESS:
            return text
        if isinstance(shown, bool):
            return f"{text} (default: on)"
        if isinstance(shown, list | tuple):
            shown = ",".join(map(str, shown))
        return f"{text} (default: {shown})".replace("%", "%%") if "%" in str(shown) else f"{text} (default: {shown})"


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
            The values; beside them ``explicit``, the names of those that were on the command line, and ``command``, all
            of it as it is typed in a shell.

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
        given.command = shlex.join([*str(self.prog).split(), *argv])
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


def words_of(parser: Options, given: argparse.Namespace, without: Collection[str] = ()) -> list[str]:
    """Return the options that were typed as words that say the same to a command with the same options.

    Args:
        parser: The command's options.
        given: What :meth:`Options.parse` returned.
        without: Options that are left out, those of a cluster among them.
    """
    words: list[str] = []
    for action in parser._actions:
        name = action.dest
        if name in without or name.startswith("cluster") or name not in given.explicit or not action.option_strings:
            continue
        value = getattr(given, name)
        if action.nargs == 0:
            # A flag that has a negative form lists it second.
            words += action.option_strings[:1] if value else action.option_strings[1:2]
        elif value is not None:
            words.append(f"{action.option_strings[0]}={_word(value)}")
    return words


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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
