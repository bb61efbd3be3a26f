"""Which decode a user's choice, or a file, names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gendistill.decodes.base import Decode, Identity
from gendistill.decodes.eight_bit import EightBit
from gendistill.decodes.formation import Formation
from gendistill.errors import UserError, did_you_mean
from gendistill.objects import build, full_path
from gendistill.untrusted import UntrustedSpec

Choice = str | int | dict[str, Any] | None
"""What an option ``decode`` may be."""
GENERATOR = "gendistill.teacher.generated.Generated"
WORDS = {
    "identity": "gendistill.decodes.base.Identity",
    "none": "gendistill.decodes.base.Identity",
    "formation": "gendistill.decodes.formation.Formation",
    "multi-formation": "gendistill.decodes.formation.Formation",
    "eight-bit": "gendistill.decodes.eight_bit.EightBit",
    "palette": "gendistill.decodes.palette.Palette",
    "generator": GENERATOR,
}
KEYS = {"factor": "formation", "colours": "palette", "generator": "generator"}
"""The argument by which a decode is told that is given without its name."""


def decode_of(choice: Choice | Decode) -> Decode:
    """Return the decode that somebody asks for.

    Args:
        choice: None: the identity. A word of :data:`WORDS`, or the name or dotted path of a class; a whole number: the
            factor of a formation; ``class_path`` and ``init_args``; the arguments alone, such as ``{factor: 2}``, with
            ``bits: 8`` where values are stored as bytes; or a decode, of which a copy is returned.

    Raises:
        UserError: It names none, or an argument is out of range.
    """
    if isinstance(choice, Decode):
        return copy.copy(choice)
    if choice is None:
        return Identity()
    if isinstance(choice, str) and choice.isdecimal():  # as a command line has it
        return Formation(int(choice))
    if isinstance(choice, int) and not isinstance(choice, bool):
        return Formation(choice)
    if isinstance(choice, str):
        return _built({"class_path": _path(choice)})
    if not isinstance(choice, Mapping):
        raise UserError(f"decode is {choice!r}; {_allowed()}")
    if "class_path" in choice:
        return _built({**choice, "class_path": _path(str(choice["class_path"]))})
    if "bits" in choice:
        return _eight_bit(dict(choice))
    word = next((word for key, word in KEYS.items() if key in choice), None)
    if word is None:
        near = "".join(did_you_mean(str(key), KEYS) for key in choice)
        raise UserError(f"decode is {dict(choice)}; {near}{_allowed()}")
    return _built({"class_path": WORDS[word], "init_args": dict(choice)})


def decode_from_file(spec: Any) -> Decode:
    """Return the decode that a teacher's file names, which is not trusted.

    Raises:
        UserError: It is none of this project or of a module that is imported already, or refuses its arguments.
    """
    return build(UntrustedSpec(spec, "the file's decode"), Decode)  # type: ignore[type-abstract]


def _eight_bit(choice: dict[str, Any]) -> Decode:
    bits = choice.pop("bits")
    if isinstance(bits, bool) or bits != 8:
        raise UserError(f"decode.bits is {bits!r}; stored values have 8, or leave it out for 32")
    if choice.keys() - {"factor"}:
        raise UserError(f"decode.bits goes with a formation's factor alone, not with {', '.join(sorted(choice))}")
    return EightBit(**choice)


def _path(word: str) -> str:
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    path = full_path(word, Decode)
    if not all(part.isidentifier() for part in path.split(".")) or "." not in path:
        raise UserError(f"decode is '{word}'; {did_you_mean(word, WORDS)}{_allowed()}")
    return path


def _built(spec: dict[str, Any]) -> Decode:
    return build(spec, Decode)  # type: ignore[type-abstract]


def _allowed() -> str:
    return (
        f"choose one of {', '.join(WORDS)}, give a formation's factor ({{factor: 2}}) with or without bits: 8, or "
        "class_path and init_args of a gendistill.decodes.Decode"
    )
