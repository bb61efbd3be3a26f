"""What ``import gendistill`` offers: nothing is loaded before it is asked for, and types are known."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gendistill as gd

HERE = Path(gd.__file__).parent


def test_the_import_loads_nothing() -> None:
    program = (
        "import sys, gendistill as gd; dir(gd); loaded = set(sys.modules); "
        "sys.exit(bool({'torch', 'numpy', 'matplotlib'} & loaded) or gd.__version__ == '')"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_programs_help_loads_no_torch() -> None:
    program = "import sys; from gendistill.cli import usage; usage(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_every_name_is_there_is_listed_and_is_documented() -> None:
    for name in gd.__all__:
        found = getattr(gd, name)
        assert name in dir(gd)
        assert name == "__version__" or (found.__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        gd.trian  # noqa: B018


def test_type_checkers_are_told_the_same_names() -> None:
    tree = ast.parse((HERE / "__init__.pyi").read_text())
    told = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(told) == set(gd.__all__) - {"__version__"}
    for name, path in told.items():
        module, _, inner = path.rpartition(".")
        try:
            expected = getattr(import_module(module), inner)
        except AttributeError:
            expected = import_module(path)
        assert getattr(gd, str(name)) is expected
