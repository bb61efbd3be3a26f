from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.data import load
from gendistill.data.picture_stack import is_grey

GREY = np.arange(16, dtype=np.uint8).reshape(4, 4) * 10


def palette(levels: np.ndarray) -> Image.Image:
    image = Image.fromarray(levels).convert("RGB").quantize(16)
    assert image.mode == "P"
    return image


def fill(folder: Path, images: list[Image.Image], suffix: str = "png") -> Path:
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            images[number % len(images)].save(folder / label / f"{number}.{suffix}")
    return folder


@pytest.mark.parametrize("kind", ["palette", "RGB", "RGBA", "LA", "mixed", "JPG", "jpeg"])
def test_pictures_without_colour_are_grey_however_they_are_stored(kind: str, tmp_path: Path) -> None:
    grey, suffix = Image.fromarray(GREY), kind if kind.lower() in ("jpg", "jpeg") else "png"
    if kind == "mixed":
        images = [palette(GREY), grey, grey.convert("RGB"), grey.convert("1"), grey.convert("RGBA")]
    else:
        images = [palette(GREY) if kind == "palette" else grey.convert("RGB" if suffix == kind else kind)]
    data = load(str(fill(tmp_path / "x", images, suffix)))
    assert data.description.image_shape == (1, 4, 4)
    if kind in ("palette", "RGB"):
        assert "12 stored in colour but grey" in data.notes[1] and "channels 3 keeps three" in data.notes[1]
        assert (data.train.images == data.train.images.new_tensor(GREY)).all()
    assert load(str(tmp_path / "x"), channels=3).description.image_shape == (3, 4, 4)


def test_one_picture_in_colour_makes_all_parts_colour(tmp_path: Path) -> None:
    fill(tmp_path / "train", [Image.fromarray(GREY).convert("RGB")])
    coloured = np.stack([GREY, GREY, GREY], 2)
    coloured[2, 1, 0] += 1
    fill(tmp_path / "val", [Image.fromarray(GREY)])
    fill(tmp_path / "test", [Image.fromarray(GREY), Image.fromarray(coloured)])
    data = load(str(tmp_path))
    for split in (data.train, data.validation, data.test):
        assert split.images.shape == (12, 3, 4, 4)
    assert (data.train.images == data.train.images.new_tensor(GREY)).all()
    assert data.test.images[1, :, 2, 1].tolist() == coloured[2, 1].tolist()


def test_is_grey_looks_at_every_pixel() -> None:
    array = np.stack([GREY, GREY, GREY])
    assert is_grey(array)
    for place in np.ndindex(3, 4, 4):
        changed = array.copy()
        changed[place] += 1
        assert not is_grey(changed)


def test_what_was_done_is_said_and_transparency_has_a_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.new("RGBA", (8, 6), (200, 0, 0, 0))
    image.paste((0, 0, 0, 255), (2, 2, 5, 5))
    exif = Image.Exif()
    exif[0x0112] = 6
    fill(tmp_path / "logos", [image])
    image.save(tmp_path / "logos" / "a" / "0.png", exif=exif)
    fill(tmp_path / "plain", [image])
    capsys.readouterr()
    data = load(str(tmp_path / "logos"), image_size=4, background="#ff8000")
    captured = capsys.readouterr()
    said = "\n".join(data.notes)
    assert "pictures of 'logos': 12 transparent, laid on #ff8000 (background)" in said
    assert "1 turned or mirrored as their EXIF says" in said
    assert "12 brought to 4x4, the middle cut out" in said
    whole = load(str(tmp_path / "plain"), background="#ff8000")
    assert whole.train.images[0, :, 0, 0].tolist() == [255, 128, 0]
    assert captured.out == "" and captured.err.splitlines() == [f"note: {note}" for note in data.notes]
