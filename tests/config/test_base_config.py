from __future__ import annotations

from pathlib import Path

import pytest

from gendistill.config.base import read_config
from gendistill.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/low.yaml").write_text("run: {steps: 9, seed: 1}\nscales: {smoke: {run: {steps: 1}}}\n")
    (tmp_path / "base/middle.yaml").write_text("base: low.yaml\ndata: {name: digits}\nrun: {seed: 2}\n")
    (tmp_path / "top.yaml").write_text("base: base/middle.yaml\nrun: {name: x}\nscales: {smoke: {run: {seed: 5}}}\n")
    return tmp_path


def test_a_config_lies_over_its_bases(folder: Path) -> None:
    assert read_config(folder / "top.yaml") == {
        "run": {"steps": 9, "seed": 2, "name": "x"},
        "data": {"name": "digits"},
        "scales": {"smoke": {"run": {"steps": 1, "seed": 5}}},
    }
    assert read_config(folder / "base/low.yaml") == {
        "run": {"steps": 9, "seed": 1},
        "scales": {"smoke": {"run": {"steps": 1}}},
    }


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("base: gone.yaml", "its base 'gone.yaml' is not there"),
        ("base: [low.yaml]", "give the name of one YAML file"),
        ("base: ../top.yaml", "stands on itself: top.yaml -> middle.yaml -> low.yaml -> top.yaml"),
        ("base: low.yaml", "stands on itself: low.yaml -> low.yaml"),
    ],
)
def test_a_base_that_cannot_be_is_explained(folder: Path, base: str, said: str) -> None:
    (folder / "base/low.yaml").write_text(base)
    with pytest.raises(UserError, match=".") as caught:
        read_config(folder / "top.yaml")
    assert said in str(caught.value)
