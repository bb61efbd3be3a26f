"""The types that a signature declares for its arguments, in words, and values that cannot be meant by them."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from gendistill.errors import UserError, did_you_mean

Block = TypeVar("Block")
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "keys and values",
    Path: "a path",
    type(None): "null",
}


@cache
def hints_of(target: type) -> Mapping[str, Any]:
    """Return the types that a class and its bases declare for the arguments of their constructors, as far as known."""
    hints: dict[str, Any] = {}
    for cls in target.__mro__:
        init = cls.__dict__.get("__init__")
        if init is None or cls is object:
            continue
        try:
            found = typing.get_type_hints(init)
        except Exception:  # names that exist for the type checker only
            found = {}
        for name, hint in found.items():
            hints.setdefault(name, hint)
    return hints


@cache
def declared_types(target: type) -> Mapping[str, Any]:
    """Return the type of every keyword argument of a class, followed through ``**kwargs`` up its bases.

    An argument without an annotation, or with one that cannot be resolved, is ``Any``.
    """
    hints = hints_of(target)
    return {name: hints.get(name, Any) for name in accepted_arguments(target)}


def describe(hint: Any) -> str:
    """Say a type in words: ``a number or null``."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if is_block(hint):
        return "keys and values"
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(part) for part in args))
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"a list of {len(args)} values"
    if origin in (list, tuple) or (isinstance(origin, type) and issubclass(origin, typing.Sequence)):
        return "a list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "keys and values"
    return getattr(hint, "__name__", str(hint))


def allows(hint: Any, kind: type) -> bool:
    """Tell whether a type is ``kind`` or a union that has it."""
    if hint is Any or hint is kind:
        return True
    return get_origin(hint) in (Union, types.UnionType) and any(allows(part, kind) for part in get_args(hint))


def is_block(hint: Any) -> bool:
    """Tell whether a type is a block of options: a dataclass, of which a config gives some entries."""
    return isinstance(hint, type) and is_dataclass(hint)


@cache
def block_types(hint: type) -> Mapping[str, Any]:
    """Return the type of every option of a block."""
    return typing.get_type_hints(hint)


def accepted_arguments(target: type) -> dict[str, inspect.Parameter]:
    """Return the keyword arguments that a class takes, followed through ``**kwargs`` up its bases."""
    accepted: dict[str, inspect.Parameter] = {}
    for cls in target.__mro__:
        init = cls.__dict__.get("__init__")
        if init is None or cls is object:
            continue
        parameters = list(inspect.signature(init).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                accepted.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return accepted


def require_types(target: type, given: Mapping[str, Any], where: str) -> None:
    """Refuse plain values that are of none of the types that a class declares for its arguments.

    What a type says of the inside of a mapping or a list, and words of a choice, are left to the class.

    Args:
        target: The class; a dataclass or any other.
        given: Arguments by name. Those that it does not name, and values that no file can hold, are let through.
        where: What the arguments belong to, for the sentence: ``inner``, or the dotted path of the class.

    Raises:
        UserError: Names the first that does not fit, its value and what is expected.
    """
    declared = block_types(target) if is_block(target) else declared_types(target)
    for name, value in given.items():
        hint = declared.get(name, Any)
        if not fits_type(value, hint):
            raise UserError(f"{where}.{name} is {value!r}; give {describe(hint)}")
        if has_no_end(value):
            raise UserError(f"{where}.{name} is {value!r}; give numbers that are finite")


def read_block(kind: type[Block], given: Mapping[str, Any], where: str, hidden: Collection[str] = ()) -> Block:
    """Return a block of options that is given as a mapping, as the object that it describes.

    Args:
        kind: Its class.
        given: Keys and values.
        where: What the option is called.
        hidden: Arguments of the class that are no options.

    Raises:
        UserError: An unknown key, or a value of a wrong type.
    """
    known = [name for name in accepted_arguments(kind) if name not in hidden]
    for key in given:
        if key not in known:
            raise UserError(
                f"{where} has no key '{key}'; {did_you_mean(str(key), known)}it may have: {', '.join(known)}"
            )
    require_types(kind, given, where)
    return kind(**given)


def has_no_end(value: Any) -> bool:
    """Tell whether a number, or one of a list of numbers, is infinite or NaN, which no option means."""
    if isinstance(value, list | tuple):
        return any(has_no_end(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)


def fits_type(value: Any, hint: Any) -> bool:
    """Tell whether a plain value may be of a declared type; of the inside of a list or mapping nothing is asked."""
    if value is not None and not isinstance(value, bool | int | float | str | Mapping | list | tuple):
        return True
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(fits_type(value, part) for part in get_args(hint))
    if is_block(hint):
        return isinstance(value, Mapping)
    kind = hint if origin is None else origin
    if kind in (int, float, str, bool, type(None)):
        wanted: Any = (int, float) if kind is float else kind
        return isinstance(value, wanted) and (kind is bool or not isinstance(value, bool))
    if not isinstance(kind, type):
        return True
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if kind in (list, tuple) or issubclass(kind, Sequence):
        return isinstance(value, list | tuple)
    # A number is none of another class; a text, a list or a mapping may be what one is made of, as a path is.
    return not (value is None or isinstance(value, int | float)) or _is_one(value, kind)


def _is_one(value: Any, kind: type) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that cannot be asked
        return True
