"""What a trainer logs, found in its text: the tags of its curves, before any run."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gendistill.class_names import snake_case
from gendistill.objects import locate

TAG = re.compile(r"``([a-z_]+/[a-z_]+)``")


def tags(trainer: type, options: Mapping[str, Any]) -> list[str]:
    """Return what a trainer logs as TensorBoard's ``train/<name>``, by name, as far as its text says it.

    Args:
        trainer: The class. What its ``train_step`` returns stands in that method's text, what else is logged in calls
            of ``record`` with a name.
        options: Its options; of ``terms`` each has a tag.
    """
    found: list[str] = []
    step = getattr(trainer, "train_step", None)
    if step is not None:
        found += TAG.findall(inspect.getdoc(step) or "")
    for kind in trainer.__mro__:
        if not getattr(kind, "__abstractmethods__", None):
            found += _recorded(kind)
    if any("extra_loss" in vars(kind) for kind in trainer.__mro__ if not getattr(kind, "__abstractmethods__", None)):
        found.append("loss/extra")
    found += [f"term/{name}" for name in _terms(options.get("terms") or ())]
    return list(dict.fromkeys(found))


def _recorded(kind: type) -> Iterator[str]:
    """Yield the names that a class's own text records."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):  # made in a session, or written in C
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def _terms(specs: Any) -> Iterator[str]:
    """Yield the names of the terms of a config, as they are numbered where several have one name."""
    paths = [spec.get("class_path") if isinstance(spec, Mapping) else spec for spec in specs]
    names = [_name(path) for path in paths if isinstance(path, str)] if isinstance(specs, Sequence) else []
    for place, name in enumerate(names):
        yield f"{name}_{place}" if names.count(name) > 1 else name


def _name(path: str) -> str:
    found = locate(path)
    own = getattr(found, "name", "") if isinstance(found, type) else getattr(found, "__name__", "")
    return own or snake_case(path.rpartition(".")[2])
