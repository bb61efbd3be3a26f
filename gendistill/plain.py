"""Nested values as YAML and JSON hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from gendistill.errors import UserError


def plain(value: Any, *, strict: bool = False) -> Any:
    """Return the same nested value in dicts with text as keys, lists, text, numbers, booleans and ``None``.

    Tuples, tensors and NumPy's arrays become lists, paths their text, blocks of options (dataclasses) dicts.

    Args:
        value: A configuration or a result.
        strict: ``False`` for configurations, in which everything unknown becomes its text. ``True`` for results, which
            strict JSON must hold: numbers that are not finite become ``None``, text is made :func:`readable`, and
            nothing unknown is let through.

    Raises:
        UserError: ``strict``, and a value is of a kind that JSON cannot hold.
    """
    if is_dataclass(value) and not isinstance(value, type) and not strict:
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, strict=strict) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, strict=strict) for item in value]
    # Asked like this, neither torch nor NumPy need be loaded.
    if hasattr(value, "tolist") and not isinstance(value, type):
        return plain(value.tolist(), strict=strict)
    if isinstance(value, float) and strict and not math.isfinite(value):
        return None
    if isinstance(value, str | Path) and strict:
        return readable(str(value))
    if value is None or isinstance(value, str | int | float):
        return value
    if strict:
        raise UserError(f"a result must be made of plain values, got a {type(value).__name__}")
    return str(value)


def readable(text: str) -> str:
    """Return text that every file and terminal takes: bytes of a name that are not UTF-8 are written ``\\xe9``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
        except UnicodeEncodeError:  # half a character that came from no file's name
            return text.encode(errors="backslashreplace").decode()
    return text
