from __future__ import annotations

from pathlib import Path

import torch

from gendistill.cli import main
from gendistill.data import load
from gendistill.teacher.reference import open_teacher


def test_exported_pngs_are_the_same_images(place: Path, run_json) -> None:
    result = run_json("export", "real:ipc=2", "--dataset", "digits", "--output", "png", "--json")
    assert result["images"] == 20
    data = load("digits")
    back, labels = open_teacher("png", data).everything()
    images, wanted = open_teacher("real:ipc=2", data).everything()
    assert torch.equal(labels.sort().values, wanted.sort().values)
    assert torch.allclose(back.sum(), images.sum(), rtol=1e-5)


def test_every_format_writes_a_folder(place: Path) -> None:
    for form in ("pt", "safetensors"):
        assert main(["export", "real:ipc=1", "--dataset", "digits", "--format", form, "--output", form]) == 0
        assert any((place / form).iterdir())
    assert len(torch.load(place / "pt/images.pt", weights_only=True)) == 10
