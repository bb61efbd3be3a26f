from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.data import load
from gendistill.teacher.reference import open_teacher


def test_a_condensed_set_becomes_a_teacher(place: Path, run_json, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = open_teacher("real:ipc=2", load("digits")).everything()
    torch.save({"data": [[images, labels]], "accs_all_exps": {}}, place / "res_DM.pt")
    result = run_json("import", "res_DM.pt", "--dataset", "digits", "--output", "dm.safetensors", "--json")
    assert result["format"] == "dc" and result["images_per_class"] == [2] * 10 and not result["whitened"]
    assert result["pixels"] == {"lowest": pytest.approx(0, abs=1e-6), "highest": pytest.approx(1), "outside":
                                pytest.approx(0, abs=0.5)}  # fmt: skip
    again = open_teacher("dm.safetensors", load("digits"))
    assert torch.equal(again.everything()[0], images)
    assert main(["import", "res_DM.pt", "--output", "dm.safetensors"]) == 0
    assert "wrote 20 images of digits (format dc)" in capsys.readouterr().out


def test_whitened_images_with_an_epsilon(place: Path, run_json) -> None:
    whitened = load("digits", whitening=0.5)
    images, labels = open_teacher("real:ipc=1", whitened).everything()
    torch.save(images, place / "images_best.pt")
    torch.save(labels, place / "labels_best.pt")
    words = ("--values", "whitened", "--whitening", "0.5", "--learning-rate", "0.03", "--output", "mtt.safetensors")
    result = run_json("import", ".", *words, "--json")
    assert result["whitened"] and result["learning_rates"] == 1
    assert open_teacher("mtt.safetensors").description == whitened.description
    run_json("export", "mtt.safetensors", "--format", "mtt", "--output", "back", "--json")
    assert torch.equal(torch.load(place / "back/images_best.pt", weights_only=True), images)


def test_mistakes_are_one_sentence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bad.pt").write_bytes(b"nothing")
    for words in (["missing.pt"], ["bad.pt"], ["bad.pt", "--format", "dcc"], [str(place)]):
        assert main(["import", *words, "--output", "t.safetensors"]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (place / "t.safetensors").exists()
