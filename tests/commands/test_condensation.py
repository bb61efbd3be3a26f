from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.data import load
from gendistill.evaluation.condensation_controls import control_teacher
from gendistill.teacher import save

BRIEF = ["--ages", "0", "--networks", "1", "--updates", "2", "--seeds", "1", "--lr", "0.01,0.1,0.3", "--momentum", "0"]
BRIEF += ["--weight-decay", "0", "--controls", "random,mixup", "--learner", "gendistill.nets.learners.MLP"]


@pytest.fixture
def condensed(tmp_path: Path) -> str:
    teacher = control_teacher("random", load("digits"), num_batches=2)
    teacher.metadata["condensation"] = {"sizes": [64, 32], "batches": 2, "image_gradients": 1280}
    save(teacher, tmp_path / "condensed.safetensors")
    return str(tmp_path / "condensed.safetensors")


def test_condensed_batches_beside_controls(condensed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["condensation", condensed, "--device", "cpu", *BRIEF]
    assert main([*words, "--json", "--output", str(tmp_path / "result.json")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert list(result["teachers"]) == ["condensed", "random", "mixup", "original"]
    assert result["teachers"]["condensed"] == result["teachers"]["random"]
    assert len(result["settings"]) == 3 and result["cost"]["break_even_epochs"] == 20
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "2 batches, 64 -> 32 images" in said and "saved again after 20 epochs" in said
    row = next(line.split() for line in said.splitlines() if line.startswith("mixup"))
    assert row[1] == "64" and float(row[2]) == pytest.approx(
        result["teachers"]["mixup"]["gradient"]["0"]["cosine"]["mean"], abs=1e-3
    )


def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["condensation", "real:ipc=2", "--device", "cpu"]) == 2
    assert "do not say which real batches" in capsys.readouterr().err
    assert main(["condensation", "real", "--momentum", "-1"]) == 2
    assert "is not a list of numbers" in capsys.readouterr().err
