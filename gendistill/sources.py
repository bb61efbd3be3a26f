"""What the source of this project's trainers says of them, read without importing it, which would take seconds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeGuard

from gendistill.class_names import PACKAGES
from gendistill.regular import read_text
from gendistill.shipped import HERE, TRAINERS, folder

BASE = "Trainer"
SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^    ([*]{0,2}\w+): (.*)$")
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
        node: All of it.
    """

    path: str
    bases: tuple[str, ...]
    summary: str
    page: str | None
    lacking: frozenset[str]
    methods: frozenset[str]
    node: ast.ClassDef


@dataclass(frozen=True)
class Option:
    """An argument of a trainer, or of a block of its options.

    Attributes:
        name: Such as ``lr``, or ``inner.steps`` of a block.
        kind: Its type, as the source has it.
        default: Its default, as it would be typed; None: it has none.
        meaning: What the docstring says of it.
    """

    name: str
    kind: str
    default: str | None
    meaning: str


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
        found.append(Known(one.path, one.bases, one.summary, page, one.lacking, one.methods, one.node))
    return sorted(found, key=lambda one: one.path)


def options(path: str) -> list[Option] | None:
    """Return the arguments of a trainer's constructor, those of its bases after its own.

    Args:
        path: Its dotted path or its name alone.

    Returns:
        The arguments; None: no trainer of this project has that path.
    """
    known = _classes()
    one = known.get(path.rpartition(".")[2])
    if one is None or path not in (one.path, one.path.rpartition(".")[2]):
        return None
    found: dict[str, tuple[Option, str]] = {}
    said: dict[str, str] = {}
    given: set[str] = set()
    for other in _line(one, known):
        said = _arguments(other.node) | said
        start = next((part for part in other.node.body if _is_start(part)), None)
        if start is None:
            continue
        for option in _parameters(start):
            if option.name not in given:
                found.setdefault(option.name, (option, other.path.rpartition(".")[0]))
        given |= _passed_on(start)
        if start.args.kwarg is None:
            break
    return [inner for option, module in found.values() for inner in _opened(_explained(option, said), module)]


def summary(path: str) -> str:
    """Return the first sentence of a trainer of this project; nothing of another."""
    one = _classes().get(path.rpartition(".")[2])
    return "" if one is None else one.summary


def _is_start(part: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    return isinstance(part, ast.FunctionDef) and part.name == "__init__"


def _passed_on(start: ast.FunctionDef) -> set[str]:
    """Return what a constructor gives its base itself, so that nobody else can."""
    calls = [node for node in ast.walk(start) if isinstance(node, ast.Call)]
    return {
        key.arg for call in calls if ast.unparse(call.func) == "super().__init__" for key in call.keywords if key.arg
    }


def _parameters(start: ast.FunctionDef) -> Iterator[Option]:
    given = start.args
    places = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(places) - len(given.defaults)), *given.defaults, *given.kw_defaults]
    for argument, default in zip([*places, *given.kwonlyargs], defaults, strict=True):
        if argument.arg != "self":
            kind = "" if argument.annotation is None else ast.unparse(argument.annotation)
            yield Option(argument.arg, kind, None if default is None else _typed(default), "")


def _typed(default: ast.expr) -> str:
    """Return a default as a person types it."""
    text = ast.unparse(default)
    return str(default.value) if isinstance(default, ast.Constant) and isinstance(default.value, str) else text


def _explained(option: Option, said: Mapping[str, str]) -> Option:
    return replace(option, meaning=said.get(option.name, ""))


def _arguments(node: ast.ClassDef) -> dict[str, str]:
    """Return what a class's docstring says of each argument or attribute."""
    text = ast.get_docstring(node) or ""
    found: dict[str, str] = {}
    for section in SECTION.findall(text):
        name = ""
        for line in section.splitlines():
            if (start := ENTRY.match(line)) is not None:
                name = start[1]
                found[name] = start[2]
            elif name and line.strip():
                found[name] += f" {line.strip()}"
    return found


def _opened(option: Option, module: str) -> list[Option]:
    """Return the options of a block in the place of the block.

    Args:
        option: What may be a block.
        module: Where its type is named.
    """
    fields = _fields(option.kind, module)
    if not fields:
        return [option]
    return [replace(field, name=f"{option.name}.{field.name}") for field in fields]


def _fields(kind: str, module: str) -> list[Option]:
    """Return the fields of a block of options with those of its bases; nothing where it is none."""
    found = _defined(kind, module)
    if found is None or not any("dataclass" in ast.unparse(one) for one in found[0].decorator_list):
        return []
    node, home = found
    fields = {field.name: field for base in node.bases for field in _fields(ast.unparse(base), home)}
    said = {name: field.meaning for name, field in fields.items()} | _arguments(node)
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            default = None if part.value is None else _typed(part.value)
            option = Option(part.target.id, ast.unparse(part.annotation), default, "")
            if not option.kind.startswith("ClassVar"):
                fields[option.name] = option
    return [_explained(option, said) for option in fields.values()]


def _defined(name: str, module: str) -> tuple[ast.ClassDef, str] | None:
    """Return a class that a module of this project defines or imports, and the module that defines it."""
    package, *inner = module.split(".")
    if not name.isidentifier() or package not in PACKAGES:
        return None
    place = (folder(TRAINERS) if package == TRAINERS else HERE).joinpath(*inner)
    tree = ast.parse(read_text(place / "__init__.py" if place.is_dir() else place.with_suffix(".py")))
    for part in tree.body:
        if isinstance(part, ast.ClassDef) and part.name == name:
            return part, module
        if (
            isinstance(part, ast.ImportFrom)
            and part.module
            and name in (alias.asname or alias.name for alias in part.names)
        ):
            return _defined(name, part.module)
    return None


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
        node=node,
    )


def _abstract(method: ast.FunctionDef) -> bool:
    return any(ast.unparse(one).rpartition(".")[2] == "abstractmethod" for one in method.decorator_list)
