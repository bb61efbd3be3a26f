"""Options of a command that stand in a YAML file: ``--config FILE``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gendistill.errors import UserError, did_you_mean

NEVER = ("help", "config", "json")
"""Options that a file cannot hold."""


@dataclass
class FromFile:
    """What a file says.

    Attributes:
        words: Options as words, to be put before those of the command line.
        positional: The value of the command's one argument, None where the file is silent.
    """

    words: list[str] = field(default_factory=list)
    positional: str | None = None


def options_of_file(argv: Sequence[str], parser: argparse.ArgumentParser) -> FromFile:
    """Return what the files that ``--config`` names say; keys are the options' names, a later file wins.

    Args:
        argv: The command's words.
        parser: Its options, of which at most one is an argument without a name.

    Raises:
        UserError: A file cannot be read or holds a key that is no option of the command.
    """
    files = [word.partition("=")[2] for word in argv if word.startswith("--config=")]
    files += [after for word, after in zip(argv, argv[1:], strict=False) if word == "--config"]
    found = FromFile()
    for file in files:
        from gendistill.yaml_file import read_yaml

        for key, value in read_yaml(file).items():
            _take(found, str(key), value, file, parser)
    return found


def _take(found: FromFile, key: str, value: Any, source: str, parser: argparse.ArgumentParser) -> None:
    known = {action.dest: action for action in parser._actions if action.dest not in NEVER}
    action = known.get(key.replace("-", "_"))
    if action is None:
        hint = did_you_mean(key, known).rstrip()
        raise UserError(f"{source}: unknown key '{key}'; {hint or 'it may be: ' + ', '.join(known)}")
    if value is None:
        return
    if not action.option_strings:
        found.positional = str(value)
    elif action.nargs == 0:
        if not isinstance(value, bool):
            raise UserError(f"{source}: {key} is {value!r}; it must be true or false")
        # A flag that has a negative form lists it second.
        if value or len(action.option_strings) > 1:
            found.words.append(action.option_strings[0 if value else 1])
    else:
        found.words += [action.option_strings[0], _word(value)]


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
