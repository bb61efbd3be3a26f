"""The Pareto front of accuracy against a budget: against a slow obvious version, on the page, in files and figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import real, result, table

from gendistill import plot
from gendistill.errors import UserError
from gendistill.report.export import export
from gendistill.report.front import front, front_marks
from gendistill.report.page import render
from gendistill.report.terminal import text_table
from gendistill.report.verdict import verdict


def priced(name: str, size: int, mean: float, **making: Any) -> dict[str, Any]:
    one = result(name, runs=[[mean / 2] * 2, [mean] * 2])
    one["teacher"] |= {"bytes": size, **({"making": making} if making else {})}
    return one


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 8)), min_size=2, max_size=8))
def test_nobody_on_the_front_is_beaten_and_everybody_else_is(places: list[tuple[int, int]]) -> None:
    found = front(verdict(table(*(priced(str(at), size, mean / 8) for at, (size, mean) in enumerate(places)))))
    assert found is not None
    for at, (size, mean) in enumerate(places):
        beaten = any((other, height) != (size, mean) and other <= size and height >= mean for other, height in places)
        assert (str(at) in found.names) == (not beaten)


RESULTS = table(
    real((0.3, 0.95)),
    priced("small", 720, 0.5, cpu_seconds=100.0, peak_memory=5 * 10**8),
    priced("large", 7200, 0.9, cpu_seconds=3.0, peak_memory=6 * 10**8),
    priced("poor", 8000, 0.4, cpu_seconds=4.0, peak_memory=6 * 10**8),
)


def test_table_page_and_files_tick_the_same_teachers(tmp_path: Path) -> None:
    assert front_marks(verdict(RESULTS)) == ["✓", "✓", "✓", ""]
    lines = text_table(RESULTS).splitlines()
    assert ["✓" in line for line in lines[2:6]] == [True, True, True, False]
    assert "making, CPU s" in lines[0].replace("\u00a0", " ") and "500 MB" in lines[3]
    page = render(RESULTS, {}, {})
    assert "Accuracy against what it costs" in page and "against bytes stored: small, large and real" in page
    assert "against CPU seconds to make: large" in page
    export(RESULTS, tmp_path)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [row["front"] for row in rows] == ["yes", "yes", "yes", "no"] and rows[1]["making, CPU s"] == "100.0"
    assert (tmp_path / "front.svg").is_file() and (tmp_path / "front-cpu.pdf").is_file()
    assert r"$\surd$" in (tmp_path / "scores.tex").read_text()


def test_other_settings_and_unknown_prices_have_no_front() -> None:
    other = priced("b", 9, 0.3)
    other["learning"]["batch_size"] = 3
    assert front(verdict(table(priced("a", 5, 0.3), other))) is None and front_marks(verdict(table(other))) == []
    assert front(verdict(RESULTS), "cpu_seconds") is not None
    assert front(verdict(table(priced("a", 5, 0.3), priced("b", 6, 0.4))), "cpu_seconds") is None
    with pytest.raises(UserError, match="did you mean 'bytes'"):
        front(verdict(RESULTS), "byte")


def test_a_notebook_draws_it() -> None:
    axes = plot.front(RESULTS, "cpu_seconds").axes[0]
    assert axes.get_xlabel() == "CPU seconds to make (log)" and "after 100 updates" in axes.get_ylabel()
    with pytest.raises(UserError, match="fewer than two"):
        plot.front(table(priced("a", 5, 0.3)))


def learners(name: str, means: dict[str, float], path: str | None = None, seen: str = "") -> dict[str, Any]:
    one = result(name, runs=[[0.1] * 5, [0.2, 0.21, 0.22, 0.2, 0.21]])
    one["teacher"]["path"] = path
    one["architectures"] = [
        {
            "name": learner, "parameters": 10, "updates": [10, 100], "seen": learner == seen,
            "accuracy": {
                "mean": [mean / 2, mean], "std": [0.0, 0.0],
                "runs": [[mean / 2] * 5, [mean - 0.01, mean, mean, mean, mean + 0.01]],
            },
        }
        for learner, mean in means.items()
    ]  # fmt: skip
    return one


def test_cells_of_all_learners_are_one_family_against_random_images_of_the_same_number(tmp_path: Path) -> None:
    results = table(
        learners("dm", {"ConvNet": 0.8, "MLP": 0.5}, seen="ConvNet"),
        learners("other", {"ConvNet": 0.5, "MLP": 0.4}, "real:ipc=9"),
        learners("random", {"ConvNet": 0.6, "MLP": 0.5}, "real:ipc=2"),
    )
    results["teachers"][1]["teacher"]["images"] = 90
    shown = text_table(results)
    line = next(line for line in reversed(shown.splitlines()) if line.startswith("dm "))
    assert "80.0 ± 0.7† ▲" in line and line.rstrip().endswith("50.0 ± 0.7") and "40.0 ± 0.0† ▲" in line
    # Each is held against those that store as many; the family is all cells that have somebody to be held against.
    assert "ahead of random real images (random), ▼ behind: 2 and 0 of 4 cells" in shown
    page = render(results, {}, {})
    assert "Several kinds of learners" in page and 'data-value="0.8"' in page
    export(results, tmp_path)
    rows = list(csv.DictReader((tmp_path / "learners.csv").open()))
    assert [row["decided"] for row in rows[:4]] == ["yes", "yes", "no", "no"]
    assert float(rows[1]["difference"]) == pytest.approx(0.2) and rows[1]["random real images"] == "random"
    assert rows[0]["seen"] == "yes" and rows[2]["seen"] == "no" and rows[4]["difference"] == ""
    assert json.loads(json.dumps(results)) == results
