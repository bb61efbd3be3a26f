"""Loading torch-mimicry: what it replaces, and what happens when it cannot be loaded."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gendistill.errors import UserError
from gendistill.mimicry import INSTALL, installed, load, loader
from gendistill.objects import locate


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """torch-mimicry as if nobody had imported it; put back afterwards."""
    for name in [name for name in sys.modules if name.split(".")[0] == loader.PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    return monkeypatch


def left_over() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == loader.PACKAGE]


@pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")
def test_the_real_package_is_loaded_and_two_parts_refuse() -> None:
    package = load()
    assert load() is package and package.__version__ == "0.1.16"
    generator = locate("torch_mimicry.nets.sngan.SNGANGenerator32")
    assert generator.__module__ == "torch_mimicry.nets.sngan.sngan_32"
    assert "/torch_mimicry/" in str(importlib.import_module("torch_mimicry.training.trainer").__file__)
    with pytest.raises(ImportError, match="gendistill evaluate"):
        package.metrics.evaluate(metric="fid")
    with pytest.raises(ImportError, match="needs TensorFlow"):
        from torch_mimicry.datasets import data_utils  # noqa: F401
    with pytest.raises(ImportError):
        importlib.import_module("torch_mimicry.metrics.fid")
    assert "tensorflow" not in sys.modules


def test_a_package_that_is_not_there(unloaded: pytest.MonkeyPatch) -> None:
    unloaded.setattr(loader, "installed", lambda: False)
    with pytest.raises(UserError, match="not installed") as caught:
        load()
    assert INSTALL in str(caught.value)
    assert not left_over()


def fake(folder: Path, content: str) -> None:
    (folder / loader.PACKAGE).mkdir()
    (folder / loader.PACKAGE / "nets.py").write_text("")
    (folder / loader.PACKAGE / "__init__.py").write_text(content)


def test_a_failed_import_leaves_nothing_behind(unloaded: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake(tmp_path, "from torch_mimicry import metrics, datasets, nets\nimport a_module_that_is_not_there\n")
    unloaded.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="a_module_that_is_not_there.*scikit-image"):
        load()
    assert not left_over()


def test_beside_tensorflow_the_compiler_is_imported_first(unloaded: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TensorBoard imports TensorFlow, and torch's compiler after it aborts the interpreter."""
    fake(tmp_path, "")
    unloaded.syspath_prepend(str(tmp_path))
    find, order = importlib.util.find_spec, []

    def found(name: str, *rest: Any) -> ModuleSpec | None:
        return ModuleSpec(name, None) if name == "tensorflow" else find(name, *rest)

    def imported(name: str) -> ModuleType:
        order.append(name)
        return ModuleType(name)

    unloaded.setattr(loader.importlib.util, "find_spec", found)
    unloaded.setattr(loader.importlib, "import_module", imported)
    load()
    assert order == ["torch._dynamo", loader.PACKAGE]
    unloaded.setattr(loader.importlib.util, "find_spec", find)
    for name in left_over():
        unloaded.delitem(sys.modules, name)
