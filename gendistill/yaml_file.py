"""Reading YAML as a person means it: ``1e-4`` is a number, a key given twice is a mistake, errors name the line."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gendistill.budget import TEXT, size_of, words
from gendistill.errors import UserError
from gendistill.regular import read_text

LONGEST, MOST, DEEPEST = 10**6, 100_000, 50
"""Characters of a config, values in it with every ``*alias`` counted as what it stands for, and how deep they may be
nested. The largest config of the project has 4,000 characters, 120 values and 7 levels."""
KEPT = 10_000
"""Characters of a text that is not read a second time."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2, without silent duplicate keys, and with an end.

    An alias costs nothing while it is read and everything when its value is copied, merged or written; so values are
    counted as they are composed, before anything is made of them.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.constructor.ConstructorError(None, None, f"values are nested more than {DEEPEST} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
            raise yaml.constructor.ConstructorError(
                None, None, "a text holds the character NUL (\\0), which no name and no path can have", mark
            )
        if node is not None and id(node) not in self._values:
            self._values[id(node)] = 1 + sum(self._count(part, mark) for part in _parts(node))
        if node is not None and self._count(node, mark) > MOST:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {MOST:,} values, with every alias (*name) counted as what it stands for", mark
            )
        return node

    def _count(self, node: yaml.Node, mark: yaml.Mark) -> int:
        if id(node) not in self._values:
            raise yaml.constructor.ConstructorError(
                None, None, "an alias (*name) stands for what it is a part of", mark
            )
        return self._values[id(node)]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)


def _parts(node: yaml.Node) -> list[yaml.Node]:
    """Return the nodes right below one."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which puts in quotes what :class:`_Loader` would read as a number."""


# YAML 1.1, which PyYAML follows, reads 1e-4 as text because there is no dot in it.
_NUMBER = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)$")
for _style in (_Loader, _Dumper):
    _style.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789."))


def parse_yaml(text: str, source: str) -> Any:
    """Read YAML text.

    Args:
        text: The text.
        source: What to call it in an error, such as the file's name.

    Returns:
        Plain values: dict, list, str, int, float, bool or None.

    Raises:
        UserError: It is not YAML, or more than a config can be; the line is named.
    """
    if len(text) > LONGEST:
        raise UserError(f"{source} has {len(text):,} characters, a config has {LONGEST:,} at most; give a config")
    return copy.deepcopy(_kept(text, source)) if len(text) <= KEPT else _parsed(text, source)


def _parsed(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


# Configs extend one another, and a table opens hundreds: the same text is read again and again.
_kept = lru_cache(512)(_parsed)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        UserError: The file is missing, is not text, is not YAML, or holds something other than a mapping.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, a config is a YAML file")
    if size_of(path) > TEXT * LONGEST:
        raise UserError(f"{path} has {words(size_of(path))}, a config has {words(LONGEST)} at most; give a config")
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        nearby = sorted(found.name for found in path.parent.glob("*.yaml"))[:8] if path.parent.is_dir() else []
        there = f"; in {path.parent} there are: {', '.join(nearby)}" if nearby else ""
        raise UserError(f"there is no config file {path}{there}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file, a config is written in YAML") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    values = parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"{path} must hold keys and values such as 'run: {{steps: 100}}', it holds a {type(values).__name__}"
        )
    return values


def dump_yaml(values: dict[str, Any]) -> str:
    """Write plain values as YAML that :func:`parse_yaml` reads back to the same values."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))
