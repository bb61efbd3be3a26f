from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.data import load
from gendistill.teacher import StoredImages, save

BRIEF = [
    "--updates",
    "1",
    "--lr",
    "0.1",
    "--seeds",
    "2",
    "--learner",
    "gendistill.nets.learners.MLP",
    "--device",
    "cpu",
]


def teacher(path: Path, **metadata: object) -> str:
    data = load("digits")
    images, labels = data.train.batch(torch.arange(20), data.description.normalisation)
    save(StoredImages(images, labels, data.description, learning_rates=torch.tensor([0.1]), metadata=metadata), path)
    return str(path)


def test_a_poisoned_teacher_is_measured_beside_its_control_and_real_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poisoned = {"source": 7, "target": 1, "weight": 1.0}
    bad = teacher(tmp_path / "bad.safetensors", seed=0, poisoned=poisoned)
    good = teacher(tmp_path / "good.safetensors", seed=0)
    output = tmp_path / "attack.json"
    assert main(["poison", bad, "--control", good, "--no-detect", "--json", "--output", str(output), *BRIEF]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["attack"] == "7:1" and list(result["teachers"]) == ["bad", "good", "real"]
    assert result == json.loads(output.read_text())
    # The two hold the same images, and what a teacher says of itself changes nothing.
    assert result["teachers"]["bad"]["attack_success"] == result["teachers"]["good"]["attack_success"]
    assert main(["poison", good, "--attack", "3:5", "--no-detect", *BRIEF]) == 0
    said = capsys.readouterr().out
    assert "attack 3:5" in said and "attack success" in said and "real" in said


def test_what_was_not_made_here_and_what_is_unknown_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = teacher(tmp_path / "foreign.safetensors", source="somewhere")
    assert main(["poison", foreign, "--attack", "7:1", *BRIEF]) == 2
    assert "made here" in capsys.readouterr().err
    honest = teacher(tmp_path / "honest.safetensors", seed=0)
    assert main(["poison", honest, *BRIEF]) == 2
    assert "--attack 7:1" in capsys.readouterr().err


def test_a_teacher_called_real_does_not_hide_behind_the_real_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = teacher(tmp_path / "real.safetensors", seed=0, poisoned={"source": 7, "target": 1, "weight": 1.0})
    assert main(["poison", path, "--no-detect", *BRIEF]) == 2
    assert "rename the teacher's file" in capsys.readouterr().err
