"""What a diagnosis says of generators that are well, and of images with one planted fault each."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.cli import main
from gendistill.data import load as load_data
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.diagnosis import Pictures, diagnose
from gendistill.seeds import stream
from gendistill.teacher import StoredImages, Teacher
from gendistill.teacher.reference import open_teacher

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "checkpoints" / "digits-gan.safetensors"


@lru_cache(maxsize=1)
def digits() -> RealData:
    return load_data("digits")


def stored(images: Tensor, labels: Tensor) -> Teacher:
    """Return pixels (N, 1, 8, 8) uint8 as a teacher."""
    normalisation = digits().description.normalisation
    return StoredImages(normalisation.apply(images), labels, digits().description)


def held_out() -> tuple[Tensor, Tensor]:
    part = digits().validation
    return part.images, part.labels


def wrong(teacher: Teacher, **options: Any) -> tuple[list[str], dict[str, Any], Pictures]:
    result, pictures = diagnose(teacher, digits(), **options)
    return [finding["key"] for finding in result["findings"] if finding["wrong"]], result, pictures


def test_the_shipped_generator_is_well() -> None:
    keys, result, pictures = wrong(open_teacher(str(SHIPPED), digits()))
    assert keys == [] and not result["collapsed"] and result["verdict"].startswith("no sign of collapse")
    assert result["n"] == 400 and len(result["classes"]) == 10
    assert 0.95 < result["findings"][2]["value"] <= 1 and all(row["coverage"] > 0.4 for row in result["classes"])
    assert [len(part) for part in (pictures.repeated, pictures.memorised, pictures.samples)] == [16, 16, 100]


def test_real_images_it_never_saw_are_well_and_training_images_are_memorised() -> None:
    keys, result, _ = wrong(stored(*held_out()))
    assert keys == []
    assert result["coverage"] == pytest.approx(result["control_coverage"], abs=0.1)
    train = digits().train
    keys, result, pictures = wrong(stored(train.images[:300], train.labels[:300]))
    assert keys == ["memorised"] and result["findings"][-1]["value"] == 1.0 and not result["collapsed"]
    torch.testing.assert_close(pictures.memorised[::2], pictures.memorised[1::2])


def test_a_class_that_is_missing() -> None:
    images, labels = held_out()
    keep = labels != 3
    keys, result, pictures = wrong(stored(images[keep], labels[keep]))
    assert keys == ["missing classes"] and result["classes"][3]["agreement"] is None
    other = images.clone()
    other[labels == 3] = images[labels == 4][: int((labels == 3).sum())]
    keys, result, pictures = wrong(stored(other, labels))
    assert "missing classes" in keys and "missing classes: 3 (" in result["findings"][1]["sentence"]
    assert result["classes"][3]["coverage"] < 0.2 < result["classes"][4]["coverage"]
    assert len(pictures.missed) > 0


def test_labels_that_are_not_those_of_the_images() -> None:
    images, labels = held_out()
    keys, result, _ = wrong(stored(images, labels[torch.randperm(len(labels), generator=stream(0, "order"))]))
    assert keys == ["labels"] and result["findings"][2]["value"] < 0.3


def test_images_that_repeat() -> None:
    images, labels = held_out()
    few = torch.arange(200) % 20
    noise = torch.randint(0, 6, (200, 1, 8, 8), generator=stream(0, "noise"), dtype=torch.uint8)
    keys, result, pictures = wrong(stored((images[few] // 2 + noise), labels[few]))
    assert "repeats" in keys and result["collapsed"]
    apart = (pictures.repeated[::2] - pictures.repeated[1::2]).abs().max()
    assert apart < 0.05


def test_a_gan_that_collapsed_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs" / "gan" / "digits-collapse.yaml")
    run = ["--run.root", str(tmp_path), "--run.name", "made", "--run.progress", "false", "--run.sample_every", "0"]
    assert main(["train", "--config", config, *run, "--run.device", "cpu"]) == 0
    page, output = tmp_path / "page.html", tmp_path / "found.json"
    capsys.readouterr()
    words = ["diagnose", str(tmp_path / "made"), "--page", str(page), "--output", str(output), "--device", "cpu"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found["collapsed"] and found["verdict"].startswith("signs of collapse: ")
    assert "what to try" in printed and "coverage %" in printed
    html = page.read_text()
    assert html.count("<img ") == 4 and "Signs of collapse" in html and 'class="finding"' in html


def test_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="at least 12 test images"):
        diagnose(stored(*(part[:10] for part in held_out())), digits())
    assert main(["diagnose", str(SHIPPED), "--count", "5"]) == 2


def test_sentences_are_refused() -> None:
    text = load_data("toytext")
    with pytest.raises(UserError, match="looks at pictures, and 'toytext' holds sentences"):
        diagnose(open_teacher("real:subset=30", text), text)


def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gendistill.commands.diagnose.load_data", lambda _: pytest.fail("work was begun"))
    assert main(["diagnose", str(SHIPPED), "--page", str(tmp_path)]) == 2
    assert "could not be written (is a directory)" in capsys.readouterr().err
