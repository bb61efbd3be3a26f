"""Laying one config over another, and the named scales of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from gendistill.errors import UserError, did_you_mean
from gendistill.renamed import modern


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``overlay`` over ``base``: mappings are merged key by key, everything else is replaced.

    A mapping that names another class (``class_path``) than the one below it replaces it, because the arguments of one
    class say nothing about another. Arguments without a class are for whatever class is laid over them.

    Returns:
        A new dict; neither argument is changed.
    """
    if "class_path" in base and base["class_path"] != overlay.get("class_path", base["class_path"]):
        return deepcopy(dict(overlay))
    merged = deepcopy(dict(base))
    for key, value in overlay.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def lay(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Return one config laid over another, both brought to the present names of options before.

    Args:
        base: A config.
        overlay: What is laid over it, perhaps without naming the classes whose arguments it gives.

    Raises:
        UserError: A config gives one option by its old and its new name, with different values.
    """
    return merge(modern_config(base), modern_config(overlay, base))


def modern_config(config: Mapping[str, Any], below: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a config, and each of its scales, with all options under their present names.

    Args:
        config: May hold ``scales: {name: overlay}``.
        below: What it is to be laid over; None: nothing.

    Raises:
        UserError: It gives one option by its old and its new name, with different values.
    """
    own = {key: value for key, value in config.items() if key != "scales"}
    found: dict[str, Any] = modern(own, below)
    if "scales" in config:
        scales = config["scales"]
        whole = merge(below or {}, own)
        mapped = isinstance(scales, Mapping)
        found["scales"] = {name: modern(one, whole) for name, one in scales.items()} if mapped else scales
    return found


def at_scale(config: Mapping[str, Any], scale: str | None, source: str) -> dict[str, Any]:
    """Return a config with the named scale laid over it and the other scales left out.

    Args:
        config: May hold ``scales: {name: overlay}``.
        scale: The chosen name, or ``None`` for the config as it stands.
        source: What to call the config in an error.

    Raises:
        UserError: There is no such scale, or a scale is not a mapping.
    """
    plain = {key: deepcopy(value) for key, value in config.items() if key != "scales"}
    scales = config.get("scales")
    scales = {} if scales is None else scales
    if not isinstance(scales, Mapping):
        raise UserError(f"{source}: scales must map a name to what it changes, got {scales!r}")
    for name, overlay in scales.items():
        if overlay is not None and not isinstance(overlay, Mapping):
            raise UserError(f"{source}: scales.{name} must hold keys and values, got {overlay!r}")
    if scale is None:
        return plain
    if not scales:
        raise UserError(f"{source} has no scales, so leave out --scale {scale}")
    if scale not in scales:
        hint = did_you_mean(scale, map(str, scales))
        raise UserError(f"{source} has no scale '{scale}'; {hint}it has: {', '.join(map(str, scales))}")
    return lay(plain, scales[scale] or {})
