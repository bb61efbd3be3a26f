"""Options that have a new name or have moved into a block of options: read under the old name, with a note.

A class says so by :func:`reads_old_names`. It then takes arguments by either name, and whoever reads, merges or
compares configs brings them to the new names first (:func:`modern`): one config written in both ways is one config.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from gendistill.declared import accepted_arguments
from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.objects import full_path, locate

T = TypeVar("T", bound=type)
OWN = ("gendistill", "trainers")
"""The packages of this project."""


def reads_old_names(names: Mapping[str, str]) -> Callable[[T], T]:
    """Let a class take arguments under the names that they had.

    Args:
        names: The new name of each old one; ``inner.steps`` is the entry ``steps`` of the argument ``inner``.
    """

    def decorate(cls: T) -> T:
        init = cls.__dict__["__init__"]

        @functools.wraps(init)
        def with_old_names(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **at_new_names(cls, kwargs))

        setattr(cls, "__init__", with_old_names)  # noqa: B010
        setattr(cls, "OLD_NAMES", dict(names))  # noqa: B010
        return cls

    return decorate


def old_names(target: Any) -> Mapping[str, str]:
    """Return the new name of each old one that a class reads; empty for most."""
    found: Mapping[str, str] = getattr(target, "OLD_NAMES", {})
    return found


def new_name(target: Any, old: str) -> str:
    """Return the name that an argument of a class has now, and say so where it is another one."""
    new = old_names(target).get(old)
    if new is None:
        return old
    note(f"'{old}' of {target.__name__} is now called '{new}'; it was read as that")
    return new


def at_new_names(target: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a class under their new names, and say which were given under old ones.

    Args:
        target: The class.
        given: Its arguments, by old or new names.

    Raises:
        UserError: One was given by both names, with different values.
    """
    found = {name: value for name, value in given.items() if name not in old_names(target)}
    for old in given:
        if old not in old_names(target):
            continue
        block, _, key = new_name(target, old).rpartition(".")
        place = found
        if block:
            before = found.get(block)
            if before is not None and not isinstance(before, Mapping):
                before = asdict(before)
            place = found[block] = dict(before or {})
        if key in place and place[key] != given[old]:
            new = old_names(target)[old]
            raise UserError(
                f"{new} is {place[key]!r}, and {old}, as it was called before, is {given[old]!r}; give {new} alone"
            )
        place[key] = given[old]
    return found


def modern(spec: Any, below: Any = None, *, trusted: bool = True) -> Any:
    """Return a nested config in which everything that is built has its arguments under their new names.

    Args:
        spec: Plain values with ``class_path`` and ``init_args`` anywhere in them.
        below: What it is laid over, which may name the classes whose arguments are given here.
        trusted: Whether classes may be imported to ask them; if not, those of this project and imported ones are.

    Raises:
        UserError: An argument was given by both names, with different values.
    """
    return _modern(spec, below, {}, trusted)


def _modern(spec: Any, below: Any, words: Mapping[str, str], trusted: bool) -> Any:
    if isinstance(spec, list | tuple):
        return [_modern(item, None, words, trusted) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    under = below if isinstance(below, Mapping) else {}
    target = class_named(spec.get("class_path", under.get("class_path")), words, trusted)
    if target is None:
        return {key: _modern(value, under.get(key), words, trusted) for key, value in spec.items()}
    own_words: Mapping[str, str] = getattr(target, "WORDS", {})
    found = {key: _modern(value, under.get(key), own_words, trusted) for key, value in spec.items()}
    if isinstance(found.get("init_args"), Mapping):
        found["init_args"] = at_new_names(target, found["init_args"])
    return found


def class_named(path: Any, words: Mapping[str, str] | None = None, trusted: bool = True) -> Any:
    """Return the class that a path or a word names, None where it names none; who builds it says what is wrong.

    Args:
        path: A dotted path, the name of a class of this project, or a word.
        words: The paths that words stand for.
        trusted: Whether its module may be imported for it. If not, it is of this project or imported already.
    """
    if not isinstance(path, str):
        return None
    try:
        path = full_path((words or {}).get(path, path))
        if not trusted and path.partition(".")[0] not in OWN and path.rpartition(".")[0] not in sys.modules:
            return None
        found = locate(path)
    except UserError:
        return None
    return found if isinstance(found, type) else None


def completed(target: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a class with the defaults of all that are not given, and of all entries of its blocks.

    Args:
        target: The class; a block is an argument whose default is an object of a dataclass.
        given: Arguments by name. One that has no default and is not given stays away.
    """
    found = dict(given)
    for name, known in accepted_arguments(target).items():
        if known.default is known.empty:
            continue
        block = is_dataclass(known.default) and not isinstance(known.default, type)
        if name not in found:
            found[name] = asdict(known.default) if block else known.default
        elif block and isinstance(found[name], Mapping):
            found[name] = asdict(known.default) | dict(found[name])
    return found
