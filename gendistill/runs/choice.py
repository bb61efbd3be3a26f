"""What a run chose for speed, in one line that is read again: ``run.compile=true trainer.chunk=32``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from gendistill.errors import UserError

MODES = ("auto", "off")
Choice = dict[str, Any]
"""Values by option, ``run.compile`` or ``trainer.chunk``."""
OF_RUNS = {"run.channels_last": bool, "run.compile": bool, "run.precision": str, "run.threads": int}
"""Options of a run that may be chosen, and the type of their values."""


def parse_choice(text: str) -> Choice | None:
    """Return what was chosen; None for ``auto`` and ``off``, which choose nothing themselves.

    Args:
        text: A mode, or ``option=value`` as often as need be, separated by spaces; values as JSON has them, or words.

    Raises:
        UserError: Neither.
    """
    if text in MODES:
        return None
    chosen: Choice = {}
    for part in text.split():
        option, equals, value = part.partition("=")
        found: Any = value
        with contextlib.suppress(ValueError):
            found = json.loads(value)
        # Of trainers there are numbers to choose, such as a chunk.
        allowed = OF_RUNS.get(option, int if option.startswith("trainer.") else None)
        if not equals or allowed is None or type(found) is not allowed:
            raise UserError(
                f"run.tune is {text!r}; give auto, off, or what an earlier run chose, such as "
                "'run.compile=true trainer.chunk=32'"
            )
        chosen[option] = found
    return chosen


def write_choice(chosen: Mapping[str, Any]) -> str:
    """Return the line that :func:`parse_choice` reads; ``off`` where nothing was chosen."""
    return " ".join(f"{option}={_word(value)}" for option, value in chosen.items()) or "off"


def as_options(chosen: Mapping[str, Any]) -> str:
    """Return what a person types to have the same without a trial."""
    return " ".join(["--run.tune off", *(f"--{option} {_word(value)}" for option, value in chosen.items())])


def of_run(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part that are a run's options, by field."""
    return {option.removeprefix("run."): value for option, value in chosen.items() if option.startswith("run.")}


def of_trainer(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part that are the trainer's options, by argument."""
    return {option.removeprefix("trainer."): value for option, value in chosen.items() if option.startswith("trainer.")}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
