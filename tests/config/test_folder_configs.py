"""Configs for folders of a hundred classes at 32 pixels and two hundred at 64: their smoke scale on made pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from gendistill.cli import main
from gendistill.teacher import load

CONFIGS = Path(__file__).resolve().parents[2] / "configs/dm"


def picture(path: Path, number: int, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), ((37 * number) % 256, (91 * number) % 256, number % 256)).save(path)


def class_folders(root: Path) -> Path:
    for number in range(100):
        for part, count in (("train", 5), ("test", 1)):
            for at in range(count):
                picture(root / part / f"kind{number:03}" / f"{at}.png", number + 7 * at, 32)
    return root


def tiny_imagenet(root: Path) -> Path:
    """Write the layout of the files that are given out, with colours in the place of photographs."""
    names = [f"n{number:08}" for number in range(200)]
    lines = []
    for number, name in enumerate(names):
        for at in range(5):
            picture(root / "train" / name / "images" / f"{name}_{at}.JPEG", number + 5 * at, 64)
        picture(root / "val" / "images" / f"val_{number}.JPEG", number, 64)
        lines.append(f"val_{number}.JPEG\t{name}\t0\t0\t62\t62")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "wnids.txt").write_text("\n".join(names) + "\n")
    (root / "words.txt").write_text("\n".join(f"{name}\tkind {name}" for name in names) + "\n")
    return root


@pytest.mark.parametrize(
    ("config", "made", "classes", "side"),
    [("folder-100", class_folders, 100, 32), ("tiny-imagenet", tiny_imagenet, 200, 64)],
)
def test_the_smoke_scale_trains_on_a_folder(config: str, made, classes: int, side: int, tmp_path: Path) -> None:
    folder = made(tmp_path / "pictures")
    words = ["--config", str(CONFIGS / f"{config}.yaml"), "--scale", "smoke", "--data.name", str(folder)]
    place = ["--run.root", str(tmp_path / "runs"), "--run.device", "cpu", "--run.progress", "false", "--run.steps", "1"]
    assert main(["train", *words, *place]) == 0
    found = load(tmp_path / "runs/dm" / f"{config}-smoke" / "teacher.safetensors")
    assert found.description.num_classes == classes and tuple(found.description.image_shape) == (3, side, side)
    images, labels = found.everything()
    assert found.images_stored == classes and images.shape == (4 * classes, 3, side, side)
    assert torch.bincount(labels, minlength=classes).tolist() == [4] * classes
