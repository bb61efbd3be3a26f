"""A run's configuration as TensorBoard compares runs by it: what a person would call each option, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.runs.configuration import flatten

KEPT = {"run.seed": "seed", "run.steps": "steps"}
"""Of the options of a run itself, those that make it another one; the others say where and how it is shown."""
LONGEST = 200
"""Characters of a value."""


def hyperparameters(config: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """Return the options of a configuration under short names: ``lr`` for ``trainer.init_args.lr``.

    Args:
        config: The nested configuration of a run.

    Returns:
        Plain values, in the order of the configuration; a class by its name, without its package.
    """
    flat = {key: value for key, value in flatten(config).items() if not key.startswith("run.") or key in KEPT}
    short = {key: _short(key) for key in flat}
    names = list(short.values())
    return {(key if names.count(name) > 1 else name): _value(key, flat[key]) for key, name in short.items() if name}


def differing_names(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names in which runs differ, also where one lacks what another has; of a single run all.

    Args:
        runs: What :func:`hyperparameters` returned, by run.
    """
    names = list(dict.fromkeys(name for options in runs.values() for name in options))
    if len(runs) < 2:
        return names
    return [name for name in names if len({repr(options.get(name)) for options in runs.values()}) > 1]


def _short(key: str) -> str:
    if key in KEPT:
        return KEPT[key]
    name = key.removesuffix(".class_path").replace(".init_args.", ".")
    name = name.removesuffix(".init_args")
    return name.removeprefix("trainer.") if name != "trainer" else name


def _value(key: str, value: Any) -> bool | float | str:
    if isinstance(value, bool | int | float):
        return value
    text = "none" if value is None else str(value)
    return (text.rpartition(".")[2] if key.endswith("class_path") else text)[:LONGEST]
