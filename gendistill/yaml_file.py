"""Reading YAML as a person means it: ``1e-4`` is a number, a key given twice is a mistake, errors name the line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from gendistill.errors import UserError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2 and without silent duplicate keys."""

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
        UserError: It is not YAML; the line is named.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        UserError: The file is missing, is not text, is not YAML, or holds something other than a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        nearby = sorted(found.name for found in path.parent.glob("*.yaml"))[:8] if path.parent.is_dir() else []
        there = f"; in {path.parent} there are: {', '.join(nearby)}" if nearby else ""
        raise UserError(f"there is no config file {path}{there}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, a config is a YAML file") from error
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
