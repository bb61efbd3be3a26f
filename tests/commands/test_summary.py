"""The page of results: its words follow from made-up numbers, and every number has its config beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gendistill.cli import main
from tests.commands.register_place import TRAINER, fill, made, row, teacher


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fill(tmp_path)


def test_words_follow_from_the_values(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = made(place)
    assert (
        "6 replications: 1 agrees, 1 disagrees, 1 too few runs, 1 runs on other data, 1 nothing to compare and 1 "
        in (capsys.readouterr().out)
    )
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    # Student's t for 3 runs: 4.303 * 0.02 * sqrt(4/3) = 0.0994.
    assert "agrees: accuracy: 82.00 % reported lies in [72.06, 91.94]" in lines["a-1"].replace("\\", "")
    assert "| 82.00 ± 1.00 % | paper, digits, 3 runs | 12 |" in lines["a-1"].replace("\\", "")
    told = lines["a-2"].replace("\\", "")
    assert "disagrees: accuracy: 50.00 % reported lies below [72.06, 91.94]" in told
    assert "a-2 ahead of other: confirmed, +10.0 points" in told
    assert "<b>" not in page and "nothing to compare" in lines["a-3"]
    assert "cannot be run here: it lacks a telescope" in lines["a-4"].replace("\\", "")
    assert "runs on other data" in lines["a-5"] and "lies" not in lines["a-5"]
    assert "rank: 0.500 reported, 0.400 measured in one run, which has no interval" in lines["a-6"].replace("\\", "")
    assert page.index("### Table 9") < page.index("### Table 10") < page.index("## Somebody 2001")
    assert "`configs/replication/a-2.yaml`, scale paper," in page and "Beside it: other 72.00 ± 1.00 %" in page.replace(
        "\\", ""
    )
    assert "seeds 0, 1, 2." in page and "| it lacks a telescope | 1: a-4 |" in page.replace("\\", "")


def test_a_row_of_a_table_is_measured_with_the_table_but_not_its_orders(place: Path) -> None:
    """The table that shows rows of other ids has judged them as their own configs say."""
    file = place / "replication/paper/digits/a-2/results.json"
    values = json.loads(file.read_text())
    for name, runs in (("a-4", [0.39, 0.40, 0.41]), ("a-5", [0.88, 0.90, 0.92]), ("a-1", [0.1, 0.1, 0.1])):
        values["teachers"].append(teacher(name, runs))
        values["replicated"].append(row(name, runs, id=name))
    file.write_text(json.dumps(values))
    page = made(place).replace("\\", "")
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert "agrees: accuracy: 40.00 % reported" in lines["a-4"] and "agrees" in lines["a-5"]
    assert "[72.06, 91.94]" in lines["a-1"], "its own results come before those of a table"
    assert "data digits, seeds 0, 1, 2, a row of `a-2`." in page
    (place / "configs/a-4.yaml").write_text(
        f"{TRAINER}reported: {{source: 'Nobody 1999, Table 10', accuracy: 0.4, ahead: {{run: [other]}}}}\n"
    )
    assert "not measured" in next(line for line in made(place).splitlines() if line.startswith("| `a-4`"))


def test_rows_that_were_only_tried_are_named_below_their_source(place: Path) -> None:
    file = place / "replication/smoke/digits/a-4/results.json"
    file.parent.mkdir()
    values = json.loads((place / "replication/paper/digits/a-1/results.json").read_text())
    file.write_text(json.dumps(values | {"id": "a-4", "scale": "smoke"}))
    page = made(place)
    assert "\n\nRuns at the scale smoke, 1 row: `a-4`.\n\n## Somebody 2001" in page and "| `a-4`" not in page


def test_some_rows_alone_and_the_list_says_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = made(place, "a-[12]")
    assert "`a-1`" in page and "`a-3`" not in page
    capsys.readouterr()
    where = ["--configs", str(place / "configs"), "--root", str(place), "--json"]
    assert main(["replicate", "--list", *where]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["standing"]["a-2"]["status"] == "disagrees" and found["counts"]["agrees"] == 1
    assert found["standing"]["a-1"]["measured"]["scale"] == "paper"


def test_a_damaged_result_is_left_out_with_a_note(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "replication" / "paper" / "digits"
    (folder / "a-1" / "results.json").write_text("{")
    values = json.loads((folder / "a-2" / "results.json").read_text())
    values["replicated"] = values["replicated"][:1]
    (folder / "a-2" / "results.json").write_text(json.dumps(values))
    page = made(place)
    said = capsys.readouterr().err
    assert "a-1" in said and "a row for each of its teachers" in said
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    # Of a-1 the scale smoke is left, which shows that it runs, and no number.
    assert "a-1" not in lines and "Runs at the scale smoke, 1 row: `a-1`." in page
    assert "not measured" in lines["a-2"] and "`configs/replication/a-1.yaml`" not in page


def test_a_row_that_was_begun_is_told_from_one_of_which_nothing_is_there(place: Path) -> None:
    for scale, name in (("paper", "a-4"), ("smoke", "a-2")):
        run = place / "replication" / scale / "digits" / name / "seed-0"
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text("{}")
    (place / "replication/paper/digits/a-2/results.json").unlink()
    page = made(place)
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert "| begun: it lacks a telescope |" in lines["a-4"].replace("\\", "") and "not measured" in lines["a-2"]
    assert "| begun | 1 | a run of it lies below the root and no result yet" in page


def test_options_that_change_a_config_are_said_and_their_number_is_not_compared(place: Path) -> None:
    file = place / "replication/paper/digits/a-1/results.json"
    values = json.loads(file.read_text()) | {"options": ["--trainer.lr=9"]}
    file.write_text(json.dumps(values))
    page = made(place).replace("\\", "")
    line = next(line for line in page.splitlines() if line.startswith("| `a-1`"))
    assert "paper, digits, 3 runs, --trainer.lr=9" in line and line.endswith("| runs on other data |")
    assert "Not as the config says, but with --trainer.lr=9." in page
    assert page == made(place).replace("\\", "")  # the same bytes again


def test_several_roots_give_what_is_nearest_to_the_source(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = place / "other"
    (place / "replication/paper/digits/a-1").rename(place / "moved")
    (other / "replication/paper/digits").mkdir(parents=True)
    (place / "moved").rename(other / "replication/paper/digits/a-1")
    assert "Runs at the scale smoke, 1 row: `a-1`." in made(place, "a-1")
    assert "paper, digits, 3 runs" in made(place, "a-1", "--root", str(other))
    capsys.readouterr()
    where = ["--configs", str(place / "configs"), "--root", str(place), "--root", str(other)]
    assert main(["replicate", "a-1", *where]) == 2
    assert "--root is given twice; runs lie in one folder" in capsys.readouterr().err


def test_ids_in_the_place_of_the_file_are_no_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--configs", str(place / "configs"), "--root", str(place)]
    for word in ("a-*", "a-1"):
        assert main(["replicate", "--summary", word, *where]) == 2
        assert f"write --summary FILE {word}" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "value"), [("mean", 82.0), ("runs", [0.8, 0.82, 8.4]), ("std", -1.0)])
def test_per_cent_is_no_fraction(key: str, value: Any, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "replication/paper/digits/a-1/results.json"
    values = json.loads(file.read_text())
    values["replicated"][0]["accuracy"][key] = value
    file.write_text(json.dumps(values))
    assert "Runs at the scale smoke, 1 row: `a-1`." in made(place, "a-1")  # it is left out
    assert "results.json" in (said := capsys.readouterr().err) and key in said
