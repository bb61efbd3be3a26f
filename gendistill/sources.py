"""What the source of this project's trainers says of them, read without importing it, which would take seconds."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gendistill.regular import read_text
from gendistill.shipped import TRAINERS, folder

BASE = "Trainer"
PAGE = re.compile(r"\bdocs/[\w/-]+\.md")


@dataclass(frozen=True)
class Known:
    """A class as its source has it.

    Attributes:
        path: Its dotted path.
        bases: Names of the classes that it derives from, without their modules.
        summary: The first sentence of its docstring.
        page: The page of the docs that its module or that of a base names; None: none does.
        lacking: Names of its own methods that a subclass has to give.
        methods: Names of those that it has itself.
    """

    path: str
    bases: tuple[str, ...]
    summary: str
    page: str | None
    lacking: frozenset[str]
    methods: frozenset[str]


def trainers() -> list[Known]:
    """Return the trainers that can train, by path; a base of others that lacks something is none."""
    known = _classes()
    found = []
    for one in known.values():
        line = _line(one, known)
        if one.path.endswith(f".{BASE}") or line[-1].path.rpartition(".")[2] != BASE:
            continue
        has = frozenset[str]().union(*(other.methods - other.lacking for other in line))
        if not frozenset[str]().union(*(other.lacking for other in line)) <= has:
            continue
        page = next((other.page for other in line if other.page), None)
        found.append(Known(one.path, one.bases, one.summary, page, one.lacking, one.methods))
    return sorted(found, key=lambda one: one.path)


def _line(one: Known, known: dict[str, Known]) -> list[Known]:
    """Return a class and all that it derives from, :data:`BASE` last if it is among them."""
    line, waiting = [], [one]
    while waiting:
        now = waiting.pop(0)
        if now not in line:
            line.append(now)
        waiting += [known[name] for name in now.bases if name in known]
    return sorted(line, key=lambda other: other.path.rpartition(".")[2] == BASE)


@lru_cache(maxsize=1)
def _classes() -> dict[str, Known]:
    """Return the classes of the files of ``trainers/``, by name; those of its folders are no trainers."""
    found = {}
    for file in sorted(folder(TRAINERS).glob("*.py")):
        tree = ast.parse(read_text(file))
        page = PAGE.search(ast.get_docstring(tree) or "")
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = _known(node, file, page[0] if page else None)
    return found


def _known(node: ast.ClassDef, file: Path, page: str | None) -> Known:
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    return Known(
        path=f"{TRAINERS}.{file.stem}.{node.name}",
        bases=tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases),
        summary=" ".join((ast.get_docstring(node) or "").split("\n\n")[0].replace("``", "").split()),
        page=page,
        lacking=frozenset(one.name for one in methods if _abstract(one)),
        methods=frozenset(one.name for one in methods),
    )


def _abstract(method: ast.FunctionDef) -> bool:
    return any(ast.unparse(one).rpartition(".")[2] == "abstractmethod" for one in method.decorator_list)
