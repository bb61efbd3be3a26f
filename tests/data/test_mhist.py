from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.data import load
from gendistill.errors import UserError

COLUMNS = ["Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition"]


def write(folder: Path, rows: list[list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


@pytest.fixture
def rows(tmp_path: Path) -> list[list[str]]:
    """Files as MHIST's: 24 images for training, 8 for testing; the red of an image is its number."""
    rows = []
    (tmp_path / "mhist/images").mkdir(parents=True)
    for number in range(32):
        name = f"MHIST_{number:03d}.png"
        pixels = np.full((6, 6, 3), 100, dtype=np.uint8)
        pixels[..., 0] = number
        Image.fromarray(pixels).save(tmp_path / "mhist/images" / name)
        votes = number % 8
        rows.append([name, "SSA" if votes >= 4 else "HP", str(votes), "test" if number >= 24 else "train"])
    write(tmp_path / "mhist", rows)
    return rows


def test_parts_and_labels_are_those_of_the_annotations(tmp_path: Path, rows: list[list[str]]) -> None:
    data = load("mhist", root=tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [22, 2, 8]
    assert data.description.class_names == ("HP", "SSA") and data.description.image_shape == (3, 6, 6)
    seen = []
    for split in (data.train, data.validation, data.test):
        numbers = split.images[:, 0, 0, 0].to(torch.int64)
        assert torch.equal(split.labels, (numbers % 8 >= 4).to(torch.int64))
        seen += numbers.tolist()
    assert sorted(seen) == list(range(32)) and min(seen[-8:]) == 24
    assert data.validation.labels.bincount().tolist() == [1, 1]
    normalised = data.description.normalisation.apply(data.train.images)
    assert abs(float(normalised[:, 0].mean())) < 1e-4 and abs(float(normalised[:, 0].std(unbiased=False)) - 1) < 1e-3


def test_images_can_be_brought_to_another_size_and_to_grey(tmp_path: Path, rows: list[list[str]]) -> None:
    assert load("mhist", root=tmp_path / "mhist", image_size=4).description.image_shape == (3, 4, 4)
    assert load("mhist", root=tmp_path, image_size=8, channels=1).test.images.shape == (8, 1, 8, 8)
    with pytest.raises(UserError, match="1 or more"):
        load("mhist", root=tmp_path, image_size=0)


def test_mistakes_in_the_files_are_named(tmp_path: Path, rows: list[list[str]]) -> None:
    folder = tmp_path / "mhist"
    (folder / "images" / rows[3][0]).unlink()
    with pytest.raises(UserError, match="MHIST_003.png' is not there"):
        load("mhist", root=tmp_path)
    for change, message in (
        (["x.png", "benign", "1", "train"], "line 34 .* 'benign'"),
        (["x.png", "HP", "1", "held"], "'held'"),
        (["../x.png", "HP", "1", "train"], "'../x.png'"),
        (["", "HP", "1", "train"], "line 34"),
    ):
        write(folder, [*rows, change])
        with pytest.raises(UserError, match=message):
            load("mhist", root=tmp_path)
    write(folder, [row for row in rows if row[1] == "HP" or row[3] == "train"])
    with pytest.raises(UserError, match="one of the classes for 'test'"):
        load("mhist", root=tmp_path)
    (folder / "annotations.csv").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(UserError, match="cannot be read|needs a file name|lists no images"):
        load("mhist", root=tmp_path)


def test_missing_files_say_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bmirds.github.io/MHIST"):
        load("mhist", root=tmp_path)
