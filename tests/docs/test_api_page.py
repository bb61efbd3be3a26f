"""docs/api.md is what the docstrings say now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import gendistill as gd

HOUSE = Path(__file__).resolve().parents[2]


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_page", HOUSE / "tools" / "api_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh() -> None:
    assert (HOUSE / "docs" / "api.md").read_text() == writer().page(), "make docs writes it anew"


def test_every_name_is_on_the_page() -> None:
    text = (HOUSE / "docs" / "api.md").read_text()
    for name in set(gd.__all__) - {"__version__", "plot"}:
        assert f"### `gd.{name}`" in text
    for name in ("images", "curves", "differences", "training", "film"):
        assert f"### `gd.plot.{name}`" in text
    for method in (
        "gd.Teacher.as_dataset",
        "gd.Teacher.batches",
        "gd.Run.resume",
        "gd.Run.branch",
        "gd.Comparison.report",
    ):
        assert f"#### `{method}`" in text
    assert ":func:" not in text and ":class:" not in text
