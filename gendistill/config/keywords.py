"""Options of an experiment as keywords of a call: each finds its section; classes and runs become what files hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendistill.config.experiment import DATA_TYPES, run_types
from gendistill.declared import declared_types
from gendistill.errors import UserError, did_you_mean
from gendistill.renamed import old_names

OWN = {"root": "data"}
"""Where a keyword belongs that several sections have and that is not the run's, as a call means it."""


def sections(trainer: type, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort keywords into the sections of a config: the run's options first, then the trainer's, then the data's.

    Args:
        trainer: The trainer's class.
        options: Values by name. A block, such as ``inner``, is a mapping.

    Returns:
        ``run``, ``init_args`` and ``data``, in plain values.

    Raises:
        UserError: There is no such option; the nearest one is named.
    """
    types = declared_types(trainer)
    known = {
        "run": run_types(),
        "init_args": {**types, **old_names(trainer)},
        "data": {name: hint for name, hint in DATA_TYPES.items() if name != "name"},
    }
    found: dict[str, dict[str, Any]] = {section: {} for section in known}
    for name, value in options.items():
        section = next((one for one, names in known.items() if name in names), None)
        if section is None:
            every = [other for names in known.values() for other in names]
            hint = did_you_mean(name, every) or f"{trainer.__name__} takes: {', '.join(types)}"
            raise UserError(f"there is no option '{name}'; {hint}".rstrip())
        found[section][name] = held(value, name)
    return found


def held(value: Any, name: str) -> Any:
    """Return a value as a config holds it: classes and functions by their dotted paths, runs by their directories.

    Args:
        value: What was given.
        name: Of the option, for an error.

    Raises:
        UserError: A file cannot hold it.
    """
    if isinstance(value, Mapping):
        return {str(key): held(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [held(item, name) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(directory := getattr(value, "directory", None), Path):
        return str(directory)
    if isinstance(spec := getattr(value, "spec", None), Mapping):
        return {key: held(item, name) for key, item in spec.items()}
    if callable(value) and hasattr(value, "__qualname__"):
        if "<" in value.__qualname__:
            raise UserError(
                f"{name} is {value.__qualname__}, which no config can name; define it at the top of a module or of a "
                "notebook"
            )
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "tolist"):
        return held(value.tolist(), name)
    raise UserError(
        f"{name} is a {type(value).__name__}, which no config can hold; give a plain value, a class or its dotted "
        "path, or the path of a file"
    )
