"""The figure of utility against epsilon: which rows are one method, and that what is drawn is what was measured."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from gendistill.errors import UserError
from gendistill.report.utility import Point, utility, utility_figure

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "private_utility.py"


def row(name: str, accuracy: float, epsilon: float | None = None, sums: str = "features") -> dict[str, Any]:
    learning = {"updates": [9], "accuracy": {"mean": [accuracy], "std": [0.01], "runs": [[accuracy]]}}
    found: dict[str, Any] = {"name": name, "teacher": {"kind": "images"}, "learning": learning}
    return found | ({} if epsilon is None else {"privacy": {"epsilon": epsilon, "delta": 1e-5, "sums": sums}})


ROWS = [
    row("ours-private", 0.9, 1.0),
    row("matching, epsilon 10", 0.96, 10.0),
    row("embedding", 0.8, 0.99, "embedding"),
    row("not private", 0.98),
]


def test_rows_of_one_kind_of_sums_are_one_method() -> None:
    found = utility(ROWS)
    assert found.private == {
        "matching": [Point(1.0, 0.9, 0.01), Point(10.0, 0.96, 0.01)], "embedding": [Point(0.99, 0.8, 0.01)],
    }  # fmt: skip
    assert found.public == {"not private": 0.98} and found.delta == 1e-5
    with pytest.raises(UserError, match="none of these results is of a private teacher"):
        utility(ROWS[3:])


def test_what_is_drawn_is_what_was_measured() -> None:
    axes = utility_figure(utility(ROWS)).axes[0]
    drawn = {container.get_label(): container.lines[0].get_xydata().tolist() for container in axes.containers}
    assert drawn["matching"] == [[1.0, 90.0], [10.0, 96.0]] and drawn["embedding"] == [[0.99, 80.0]]
    (level,) = [line for line in axes.lines if line.get_label() == "not private"]
    assert list(level.get_ydata()) == [98.0, 98.0]
    assert "delta 1e-05" in axes.get_xlabel() and axes.get_xscale() == "log"


def test_the_command_draws_results_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for place, rows in enumerate((ROWS[:2], ROWS[2:])):
        paths.append(str(tmp_path / f"{place}.json"))
        Path(paths[-1]).write_text(json.dumps({"teachers": rows}))
    monkeypatch.setattr(sys, "argv", ["private_utility.py", str(tmp_path / "figure.svg"), *paths])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    assert "matching: 90.0 % at epsilon 1, 96.0 % at epsilon 10" in capsys.readouterr().out
