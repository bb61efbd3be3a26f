"""Checking one value against the type that a signature declares."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from gendistill.class_names import suggestion
from gendistill.declared import allows, block_types, describe, has_no_end, is_block
from gendistill.errors import UserError, did_you_mean
from gendistill.objects import full_path, full_paths
from gendistill.yaml_file import parse_yaml

CLASS_PATH = re.compile(r"([A-Za-z_]\w*\.)+[A-Z]\w*")
PLAIN = (bool, int, float, str)


def _is_word(value: str) -> bool:
    """Return whether a text may be meant as a name: no number, no truth value, no list and no mapping in YAML."""
    try:
        return isinstance(parse_yaml(value, ""), str)
    except UserError:
        return False


def check_value(value: Any, hint: Any, where: str, *, written_as_text: bool = False) -> Any:
    """Return a value converted to the type that is declared for it.

    Where a mapping of ``class_path`` and ``init_args`` is expected, the name or the path of a class alone is one;
    classes of this project that are given by their names get their dotted paths.

    Args:
        value: A plain value from YAML, or the text of a command-line option.
        hint: The declared type.
        where: The file and key or the option, for the error.
        written_as_text: ``True`` for the command line, where ``5`` may be a number or a name.

    Raises:
        UserError: The value does not fit; the sentence names the key, the value and what is expected.
    """
    if is_block(hint):
        return _check_block(parse_yaml(value, where) if written_as_text else value, hint, where)
    near = ""
    if isinstance(value, str) and _is_spec(hint):
        path = full_path(value)
        if CLASS_PATH.fullmatch(path):
            value, written_as_text = {"class_path": path}, False
        else:
            near = f"; {suggestion(value)}".rstrip("; ") if _is_word(value) else ""
    refusal = UserError(f"{where} is {value!r}, expected {describe(hint)}{near}")
    if value is None and not written_as_text:
        if not allows(hint, type(None)):
            raise refusal
        return None
    if written_as_text and isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        written = parse_yaml(value, where)
        if isinstance(written, Mapping | list) and hint is not Any and _leaves_open(hint, written):
            value, written_as_text = written, False
    if not written_as_text and _leaves_open(hint, value):
        # jsonargparse would build what looks like a class in there, and fill in arguments that the program gives later.
        return full_paths(value)
    result = (
        value if not written_as_text and _is_plainly(value, hint) else _parsed(value, hint, refusal, written_as_text)
    )
    if has_no_end(result):
        raise UserError(f"{where} is {value!r}; give numbers that are finite")
    return full_paths(_in_mappings(result))


def _parsed(value: Any, hint: Any, refusal: UserError, written_as_text: bool) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        parsed = parser.parse_args([f"--value={value}"]) if written_as_text else parser.parse_object({"value": value})
    except Exception as error:  # jsonargparse raises several kinds, all of them about this one value
        raise refusal from error
    return parsed.value


def _is_plainly(value: Any, hint: Any) -> bool:
    """Tell whether a value is of a declared type as it stands, so that no parser has to be made for it.

    Only where there is no doubt: a whole number for float is converted, and a text for one of several types is tried.
    """
    if hint in PLAIN:
        return type(value) is hint
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        others = [part for part in args if part is not type(None)]
        return len(others) == 1 and not isinstance(value, str) and _is_plainly(value, others[0])
    return origin is list and type(value) is list and all(_is_plainly(item, args[0]) for item in value)


def _check_block(value: Any, hint: type, where: str) -> dict[str, Any]:
    """Return the options of a block that are given, each converted to its type."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {value!r}, expected keys and values, such as {{steps: 10}}")
    types = block_types(hint)
    for key in value:
        if key not in types:
            near = did_you_mean(str(key), types) or f"it may be: {', '.join(types)}"
            raise UserError(f"{where} has no option '{key}'; {near.rstrip()}")
    return {key: check_value(item, types[key], f"{where}.{key}") for key, item in value.items()}


def _in_mappings(value: Any) -> Any:
    """Return a value with the parser's namespaces, at any depth, as mappings."""
    if hasattr(value, "as_dict"):
        return _in_mappings(value.as_dict())
    if isinstance(value, Mapping):
        return {key: _in_mappings(item) for key, item in value.items()}
    return [_in_mappings(item) for item in value] if isinstance(value, list) else value


def _is_spec(hint: Any) -> bool:
    """Tell whether a type is a mapping of anything, such as class_path and init_args, and no text."""
    if get_origin(hint) in (Union, types.UnionType):
        return not allows(hint, str) and any(_is_spec(part) for part in get_args(hint))
    origin, args = get_origin(hint), get_args(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping) and args == (str, Any)


def _leaves_open(hint: Any, value: Any) -> bool:
    """Tell whether a type says no more of a value than that it is a mapping, or a list of mappings."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_leaves_open(part, value) for part in args)
    if not isinstance(origin, type) or len(args) not in (1, 2):
        return False
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and args[1] is Any
    listed = issubclass(origin, typing.Sequence) and len(args) == 1 and isinstance(value, list)
    return listed and all(_leaves_open(args[0], item) for item in value)
