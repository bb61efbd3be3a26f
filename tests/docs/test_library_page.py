"""docs/library.md, run as it stands, from the first block to the last."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import gendistill as gd

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is defined when all blocks were run in an empty folder."""
    place = tmp_path_factory.mktemp("page")
    names: dict[str, Any] = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        torch.manual_seed(0)  # the plain loop draws from the global generator
        for block in blocks("python"):
            exec(compile(block, str(PAGE), "exec"), names)
        names |= {"csv rows": Path("runs/csv/curves.csv").read_text().splitlines(), "curves": names["run"].curves()}
    return names | {"place": place}


def test_the_plain_loop_of_fifteen_lines_reaches_what_learners_here_reach(told: dict[str, Any]) -> None:
    loop = next(block for block in blocks("python") if "as_dataset()" in block)
    lines = [line for line in loop.splitlines() if line and not line.startswith(("import", "from", "print"))]
    assert len(lines) <= 18
    assert told["result"].accuracy > 0.85
    assert float(told["accuracy"]) > told["result"].accuracy - 0.03


def test_files_that_the_page_writes_are_there(told: dict[str, Any]) -> None:
    place = told["place"]
    for name in ("curves.svg", "images.png", "report.html", "runs/dm.json", "runs/dm/teacher.safetensors"):
        assert (place / name).stat().st_size > 1000, name
    assert gd.Result.read(place / "runs" / "dm.json").accuracy == told["result"].accuracy


def test_the_patient_callback_ends_its_run(told: dict[str, Any]) -> None:
    reached = told["patience"].reached
    assert len(reached) >= 3 and all(0.0 < one <= 1.0 for one in reached)


def test_the_csv_logger_tells_what_tensorboard_tells(told: dict[str, Any]) -> None:
    rows = [row.split(",") for row in told["csv rows"]]
    curve = [(int(step), float(value)) for step, tag, value in rows if tag == "train/loss/distribution"]
    known = told["curves"]["train/loss/distribution"]
    assert [step for step, _ in curve] == [5, 10, 15, 20]
    assert curve == [(step, pytest.approx(value, rel=1e-6)) for step, value in known]


def test_the_best_step_goes_on(told: dict[str, Any]) -> None:
    again = told["again"]
    assert again.step == 60 and (told["place"] / again.directory / "config.yaml").is_file()
