"""Reading JSON that may be damaged: one reader that knows the shape, one sentence for whatever is wrong.

Python's own reader takes NaN, a key given twice, numbers without bound and nesting down to its own stack; and what it
returns may have any shape. :func:`read_json` takes none of these, and nothing behind it need ask again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.regular import require_own

MOST_BYTES = 256 * 2**20
"""Larger than any file that this project writes as JSON."""
DEEPEST = 64
"""Levels of lists and objects; what this project writes has about ten."""
LARGEST = 2**63
"""Numbers from here on are none that this project writes; nor is NaN, which is not below."""
SEAL = "sha256"
"""The key of what :func:`sealed` adds."""
Check = Callable[[Any], bool]


class JsonError(UserError):
    """A JSON file is damaged, or has not the shape that it should have."""


# What a value may be ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Is:
    """A value that passes a check.

    Attributes:
        fits: The check; it must take any value.
        expected: In words, with an article: ``a number of images``.
    """

    fits: Check
    expected: str


@dataclass(frozen=True)
class Keys:
    """An object.

    Attributes:
        required: Keys that must be there, with the shape of each; null only if that shape takes it.
        optional: Keys that may be missing or null.
        others: The shape of every other key; None: they may be anything.
    """

    required: Mapping[str, Shape] = field(default_factory=dict)
    optional: Mapping[str, Shape] = field(default_factory=dict)
    others: Shape | None = None


@dataclass(frozen=True)
class Each:
    """A list.

    Attributes:
        of: The shape of every entry.
        at_least: Its smallest length.
    """

    of: Shape
    at_least: int = 0


Shape = Is | Keys | Each


def check(value: Any, shape: Shape, where: str) -> None:
    """Refuse a value that has not a shape.

    Args:
        value: Anything.
        shape: What it must be.
        where: What to call the value in the sentence.

    Raises:
        JsonError: It has not; the sentence names the key and what was expected there.
    """
    if isinstance(shape, Is):
        if not shape.fits(value):
            raise JsonError(f"{where} is {shown(value)}, expected {shape.expected}")
    elif isinstance(shape, Each):
        if not isinstance(value, list | tuple):
            raise JsonError(f"{where} is {shown(value)}, expected a list")
        if len(value) < shape.at_least:
            raise JsonError(f"{where} has {len(value)} entries, expected at least {shape.at_least}")
        for place, item in enumerate(value):
            check(item, shape.of, f"{where}: entry {place}")
    else:
        if not isinstance(value, Mapping):
            raise JsonError(f"{where} is {shown(value)}, expected an object of keys and values")
        for key, inner in shape.required.items():
            if key not in value:
                raise JsonError(f"{where} lacks '{key}', expected {_expected(inner)}")
            check(value[key], inner, f"{where}: {key}")
        for key, inner in shape.optional.items():
            if value.get(key) is not None:
                check(value[key], inner, f"{where}: {key}")
        if shape.others is not None:
            for key in value:
                if key not in shape.required and key not in shape.optional:
                    check(value[key], shape.others, f"{where}: {shown(key)}")


def shown(value: Any) -> str:
    """Return a value as an error quotes it: on one line and short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _expected(shape: Shape) -> str:
    if isinstance(shape, Is):
        return shape.expected
    return "a list" if isinstance(shape, Each) else "an object of keys and values"


def text(value: Any) -> bool:
    """Take text."""
    return isinstance(value, str)


def truth(value: Any) -> bool:
    """Take true and false."""
    return isinstance(value, bool)


def number(value: Any) -> bool:
    """Take a finite number of a size that this project writes."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def real(value: Any) -> bool:
    """Take any number, also one that is not finite, which is none in JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def size(value: Any) -> bool:
    """Take a number of at least 0."""
    return number(value) and value >= 0


def whole(value: Any) -> bool:
    """Take a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def fraction(value: Any) -> bool:
    """Take a number from 0 to 1."""
    return number(value) and 0 <= value <= 1


def mapping(value: Any) -> bool:
    """Take an object."""
    return isinstance(value, Mapping)


def maybe(fits: Check) -> Check:
    """Take null, too."""
    return lambda value: value is None or fits(value)


def list_of(fits: Check) -> Check:
    """Take a list whose entries pass."""
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def table_of(fits: Check) -> Check:
    """Take an object whose values pass."""
    return lambda value: isinstance(value, Mapping) and all(map(fits, value.values()))


# Reading ---------------------------------------------------------------------------------------------------------


def read_json(path: str | Path, shape: Shape | None = None, *, most_bytes: int = MOST_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: The file; UTF-8, with or without a byte order mark.
        shape: What it must hold; None: any JSON.
        most_bytes: A larger one is refused before it is read.

    Returns:
        Plain values: finite numbers, text that can be written as UTF-8, objects whose keys were given once.

    Raises:
        FileNotFoundError: There is none: what that means, and what to do, the caller knows.
        JsonError: It cannot be read, is not JSON, or has not the shape.
    """
    try:
        # Without waiting: opening a pipe that nobody writes to would never end.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise JsonError(f"'{path}' is not a regular file; give a JSON file")
            if about.st_size > most_bytes:
                raise JsonError(
                    f"'{path}' has {about.st_size:,} bytes, more than the {most_bytes:,} that such a file may have"
                )
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise JsonError(f"'{path}' cannot be read ({_reason(error)})") from error
    return parse_json(content, f"'{path}'", shape)


def parse_json(content: str | bytes, source: str, shape: Shape | None = None) -> Any:
    """Read JSON from memory; see :func:`read_json`.

    Args:
        content: The text, or its bytes in UTF-8.
        source: What to call it in an error.
        shape: What it must hold; None: any JSON.

    Raises:
        JsonError: It is not JSON, or has not the shape.
    """
    if not content:
        raise JsonError(f"{source} is empty, expected JSON")
    try:
        words = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        values = json.loads(
            words, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_float, parse_int=_int
        )
        _check_depth_and_text(values)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"{source} is not a readable JSON file: {_reason(error)}") from error
    if shape is not None:
        check(values, shape, source)
    return values


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, RecursionError):
        return f"lists and objects more than {DEEPEST} deep"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split())[:200]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} is given twice")
    return made


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {shown(digits)} is out of range")
    return value


def _int(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= 2 * LARGEST:
        raise ValueError(f"the number {shown(digits)} is out of range")
    return int(digits)


def _check_depth_and_text(values: Any) -> None:
    waiting = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise RecursionError
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                _check_text(key)
                waiting.append((item, depth + 1))
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]


def _check_text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the text {shown(value)} holds half a character") from error


# Kept work -------------------------------------------------------------------------------------------------------


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with a checksum beside them, so that damage that is still JSON is found, too."""
    return {**values, SEAL: _digest(values)}


def is_whole(values: Mapping[str, Any]) -> bool:
    """Return whether values are those that :func:`sealed` was given; True of values without a checksum."""
    return SEAL not in values or values[SEAL] == _digest(values)


def _digest(values: Mapping[str, Any]) -> str:
    said = json.dumps({key: value for key, value in values.items() if key != SEAL}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def read_kept(
    path: Path, shape: Shape, anew: str, *, also: Callable[[dict[str, Any]], object] | None = None
) -> dict[str, Any] | None:
    """Read kept work: what cannot be relied on is done anew, and that is said.

    Args:
        path: The file.
        shape: What it must hold, an object.
        anew: What happens to damaged work, such as ``it is judged anew``.
        also: Looks further, and raises a :class:`gendistill.errors.UserError` of what is damaged.

    Returns:
        The values, without their checksum; None where there is nothing that can be relied on.

    Raises:
        PlaceError: A folder, a pipe or the like lies there, so that nothing could be kept.
    """
    require_own(path)
    try:
        values: dict[str, Any] = read_json(path, shape)
        if not is_whole(values):
            raise JsonError(f"'{path}' does not match its checksum")
        if also is not None:
            also(values)
    except FileNotFoundError:
        return None
    except UserError as error:
        note(f"{error}; {anew}")
        return None
    return {key: value for key, value in values.items() if key != SEAL}
