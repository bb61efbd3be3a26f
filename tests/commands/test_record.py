"""The record beside the page of results: what one machine has measured stays when another writes the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gendistill.cli import main
from tests.commands.register_place import TRAINER, fill, made, row, teacher


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fill(tmp_path)


@pytest.fixture
def moved(place: Path) -> Path:
    """The page and its record were written where the runs were; now these are gone."""
    made(place)
    shutil.rmtree(place / "replication")
    return place


def config_of(place: Path, name: str, old: str, new: str) -> None:
    file = place / "configs" / f"{name}.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_the_page_is_the_same_without_the_runs(place: Path) -> None:
    page = made(place)
    kept = (place / "page.json").read_bytes()
    shutil.rmtree(place / "replication")
    assert made(place) == page and (place / "page.json").read_bytes() == kept


def test_rows_of_a_table_are_measured_with_it_there_too(place: Path) -> None:
    file = place / "replication/paper/digits/a-2/results.json"
    values = json.loads(file.read_text())
    values["teachers"].append(teacher("a-4", [0.39, 0.40, 0.41]))
    values["replicated"].append(row("a-4", [0.39, 0.40, 0.41], id="a-4"))
    file.write_text(json.dumps(values))
    page = made(place)
    shutil.rmtree(place / "replication")
    assert "a row of `a-2`" in page and made(place) == page
    # The table alone is there, and once.
    recorded = json.loads((place / "page.json").read_text())["results"]
    assert [one["id"] for one in recorded].count("a-2") == 1 and "a-4" not in [one["id"] for one in recorded]


def test_what_is_reported_may_be_mended_and_a_config_that_measures_otherwise_drops_its_row(
    moved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_of(moved, "a-1", "accuracy: 0.82", "accuracy: 0.99")
    config_of(moved, "a-3", "steps: 1", "steps: 1, save_every: 7")
    config_of(moved, "a-2", "steps: 1", "steps: 2")
    page = made(moved).replace("\\", "")
    assert "99.00 % reported lies above [72.06, 91.94]" in page
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert "not measured" in lines["a-2"] and "30.00 ± 1.00 %" not in lines["a-2"] and "35.00" in lines["a-3"]
    assert "holds 1 row whose configs are gone or say something else today, which are left out: a-2" in (
        capsys.readouterr().err
    )
    assert "a-2" not in (moved / "page.json").read_text()


def test_a_row_beside_it_belongs_to_a_table(place: Path) -> None:
    (place / "configs/part").mkdir()
    part = place / "configs/part/one.yaml"
    part.write_text(TRAINER)
    (place / "configs/a-2.yaml").write_text(
        f"{TRAINER}evaluation: {{beside: {{other: part/one}}}}\nreported: {{source: 'Nobody 1999, Table 10'}}\n"
    )
    page = made(place)
    shutil.rmtree(place / "replication")
    assert made(place) == page
    part.write_text(TRAINER.replace("steps: 1", "steps: 2"))
    assert "`configs/replication/a-2.yaml`" not in made(place)


def test_a_pattern_shortens_the_page_alone(moved: Path) -> None:
    kept = (moved / "page.json").read_text()
    page = made(moved, "a-1")
    assert "`a-3`" not in page and (moved / "page.json").read_text() == kept


@pytest.mark.parametrize(("runs", "shown"), [([0.5, 0.5, 0.5, 0.6], "52.50"), ([0.5, 0.6], "82.00")])
def test_of_equally_near_results_more_runs_are_shown(moved: Path, runs: list[float], shown: str) -> None:
    folder = moved / "replication/paper/digits/a-1"
    folder.mkdir(parents=True)
    values: dict[str, Any] = {"id": "a-1", "scale": "paper", "dataset": "digits", "seeds": list(range(len(runs)))}
    values |= {"teachers": [teacher("a-1", runs)], "replicated": [row("a-1", runs)]}
    (folder / "results.json").write_text(json.dumps(values))
    line = next(line for line in made(moved).splitlines() if line.startswith("| `a-1`"))
    assert shown in line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('{"format": 1', '{"format": 2', "format is 2, expected the number 1"),
        ('"paper"', "7", "expected text"),
        ('"mean": 0.82', '"mean": 82', "expected a fraction"),
        ("]}\n", "", "is not a readable JSON file"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_and_kept(
    moved: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    file, page = moved / "page.json", (moved / "page.md").read_text()
    file.write_text(damaged := file.read_text().replace(old, new))
    where = ["--configs", str(moved / "configs"), "--root", str(moved)]
    assert main(["replicate", "--summary", str(moved / "page.md"), *where]) == 2
    assert words in capsys.readouterr().err
    assert file.read_text() == damaged and (moved / "page.md").read_text() == page
