"""Laying one config over another, and the named scales of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from gendistill.errors import UserError, did_you_mean


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
    return merge(plain, scales[scale] or {})
