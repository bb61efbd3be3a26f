"""Which dotted path a class of this project has, when somebody gives its name alone or a path that is not quite right.

The index is made from the source files without importing them, and only when it is asked for.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from gendistill.own_trainers import import_module
from gendistill.shipped import HERE, INSTALLED, TRAINERS, folder

PACKAGES = ("gendistill", TRAINERS)
CLASS = re.compile(r"^class ([A-Z]\w*)", re.MULTILINE)
NEAR, AT_MOST = 0.75, 3
TIMM = "gendistill.nets.timm_learner.TimmLearner"
TIMM_PREFIX = "timm:"
"""Begins the name of a network of timm where a person writes it: ``timm:resnet18``."""


def paths_of(name: str, base: type | None = None) -> list[str]:
    """Return the dotted paths of the classes of this project that have a name.

    Args:
        name: The class's name alone.
        base: Only this class and its subclasses count; their modules are imported to know. None: all.
    """
    return [path for path in _index().get(name, ()) if base is None or _fits(path, base)]


def suggestion(path: str, base: type | None = None) -> str:
    """Return ``"did you mean 'package.module.Name'? "`` for what somebody has written, or an empty string.

    Args:
        path: A name, or a dotted path that does not lead to a class.
        base: What the class must be.
    """
    name = path.rpartition(".")[2]
    names = {known.lower().replace("_", ""): known for known in _index()}
    plain = name.lower().replace("_", "")
    found = paths_of(name, base) or paths_of(names.get(plain, ""), base)
    if not found:
        near = difflib.get_close_matches(plain, list(names), n=AT_MOST, cutoff=NEAR)
        found = next((paths for other in near if (paths := paths_of(names[other], base))), [])
    found = [other for other in found if other != path]
    if not found:
        return ""
    return f"did you mean {' or '.join(repr(other) for other in found[:AT_MOST])}? "


@lru_cache(maxsize=1)
def _index() -> MappingProxyType[str, tuple[str, ...]]:
    """Return the dotted paths of all classes of this project by name."""
    found: dict[str, list[str]] = defaultdict(list)
    for package, root in zip(PACKAGES, (HERE, folder(TRAINERS)), strict=True):
        for file in sorted(root.rglob("*.py")):
            if root == HERE and file.is_relative_to(INSTALLED):
                continue
            module = ".".join((package, *file.relative_to(root).with_suffix("").parts))
            module = module.removesuffix(".__init__")
            for name in CLASS.findall(file.read_text(encoding="utf-8")):
                found[name].append(f"{module}.{name}")
    return MappingProxyType({name: tuple(paths) for name, paths in found.items()})


def _fits(path: str, base: type) -> bool:
    module, _, name = path.rpartition(".")
    try:
        found: Any = getattr(import_module(module), name, None)
    except ImportError:  # of an optional package
        return False
    return isinstance(found, type) and issubclass(found, base)


def timm_name(path: Any, arguments: Any) -> str | None:
    """Return ``timm:resnet18`` for the spec of such a learner, with its patches' size; None for any other."""
    if path != TIMM:
        return None
    model = arguments.get("model") if isinstance(arguments, Mapping) else None
    patch = arguments.get("patch_size") if isinstance(arguments, Mapping) else None
    return f"{TIMM_PREFIX}{model or 'resnet18'}" + ("" if patch is None else f"(patch_size={patch})")


def snake_case(name: str) -> str:
    """Return a class's name in lower case with its words joined by ``_``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
