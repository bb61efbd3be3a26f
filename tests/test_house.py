"""The house drawn from its imports: no circle, nothing upward, and a floor for every room.

Every import counts: those inside functions, and those for type-checking alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

HOUSE = Path(__file__).parent.parent
PACKAGES = ("gendistill", "trainers", "tools")

Graph = dict[str, set[str]]


def modules() -> dict[str, Path]:
    """Return the house's modules by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((HOUSE / package).rglob("*.py")):
            parts = path.relative_to(HOUSE).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, module: str, known: Mapping[str, object]) -> Iterator[str]:
    """Yield the modules of the house that a module's text imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            # A name may be a module of a package, or something in a module.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in inner]
        else:
            continue
        yield from (name for name in names if name in known and name != module)


@cache
def graph() -> Graph:
    """Return which modules each module imports."""
    known = modules()
    return {name: set(imported(path.read_text(), name, known)) for name, path in known.items()}


def circles(of: Graph) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or round about (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(of[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in of:
        if node not in index:
            visit(node)
    return found


def floors() -> dict[str, int]:
    """Return the floor of every entry of the table of docs/architecture.md: paths of files, and of folders with a /."""
    page = (HOUSE / "docs" / "architecture.md").read_text()
    table = page.split("## Floors")[1].split("\n## ")[0]
    found = {}
    for number, cell in re.findall(r"^\| (\d) \| ([^|]+) \|", table, flags=re.MULTILINE):
        for entry in re.findall(r"`([^`]+)`", cell):
            path = entry if entry.split("/")[0] in PACKAGES else f"gendistill/{entry}"
            assert path not in found, f"{path} is on two floors"
            found[path] = int(number)
    return found


def room_of(path: Path, entries: Mapping[str, int]) -> str | None:
    """Return the entry that a file belongs to: itself, or a folder above it."""
    name = path.relative_to(HOUSE).as_posix()
    fitting = [entry for entry in entries if entry == name or (entry.endswith("/") and name.startswith(entry))]
    return max(fitting, key=len) if fitting else None


def test_no_module_imports_itself_round_about() -> None:
    assert circles(graph()) == []


def test_no_import_goes_up() -> None:
    known, entries = modules(), floors()
    rooms = {name: room_of(path, entries) for name, path in known.items()}
    upward = [
        f"{name} (floor {entries[room]}) imports {other} (floor {entries[above]})"
        for name, others in graph().items()
        for other in sorted(others)
        if (room := rooms[name]) is not None and (above := rooms[other]) is not None and entries[above] > entries[room]
    ]
    assert upward == []


def test_no_room_imports_itself_round_about() -> None:
    known, entries = modules(), floors()
    rooms = {name: room_of(path, entries) for name, path in known.items()}
    between: Graph = {entry: set() for entry in entries}
    for name, others in graph().items():
        for other in others:
            one, two = rooms[name], rooms[other]
            if one is not None and two is not None and one != two:
                between[one].add(two)
    assert circles(between) == []


def test_every_module_has_a_floor_and_every_entry_exists() -> None:
    known, entries = modules(), floors()
    homeless = [name for name, path in known.items() if room_of(path, entries) is None]
    assert homeless == ["gendistill"]  # the package itself, which says its version
    assert [entry for entry in entries if not (HOUSE / entry).exists()] == []
    assert sorted(set(entries.values())) == [0, 1, 2, 3, 4]


def test_the_package_never_imports_methods() -> None:
    ours = {name: others for name, others in graph().items() if name.startswith("gendistill")}
    assert [name for name, others in ours.items() if any(other.startswith("trainers") for other in others)] == []


def test_what_is_drawn_is_what_is_written() -> None:
    known = dict.fromkeys(["a", "a.b", "a.c", "a.d", "a.e"])
    source = """
from typing import TYPE_CHECKING
import a.b, torch
from a import c, name
if TYPE_CHECKING:
    from a.d import Thing
def later():
    from a.e import thing
"""
    assert sorted(imported(source, "x", known)) == ["a", "a.b", "a.c", "a.d", "a.e"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []
