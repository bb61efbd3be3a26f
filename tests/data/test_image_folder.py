from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.data import load
from gendistill.data.folder import measure, read_folder
from gendistill.errors import UserError


def paint(path: Path, size: tuple[int, int] = (6, 4), mode: str = "RGB", value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value, 0, 255)[: len(mode)] if mode == "RGB" else value).save(path)


def fill(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 20, **options: object) -> Path:
    for label, name in enumerate(classes):
        for number in range(count):
            paint(root / name / f"{number}.png", value=10 * label + number, **options)  # type: ignore[arg-type]
    return root


def test_pixels_labels_and_names(tmp_path: Path) -> None:
    images, labels, names = read_folder(fill(tmp_path))
    assert images.shape == (40, 3, 4, 6) and images.dtype == torch.uint8
    assert names == ("cat", "dog")
    assert labels.tolist() == [0] * 20 + [1] * 20
    assert images[:, 1].unique().tolist() == [0] and images[:, 2].unique().tolist() == [255]
    assert sorted(images[labels == 1, 0, 0, 0].tolist()) == list(range(10, 30))


def test_an_undivided_folder_is_split_by_the_seed(tmp_path: Path) -> None:
    data = load(f"folder:{fill(tmp_path / 'pets')}")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [29, 3, 8]
    assert data.test.labels.tolist() == [0] * 4 + [1] * 4
    assert data.description.name == "pets" and data.description.image_shape == (3, 4, 6)
    measured = measure(data.train.images)
    assert data.description.normalisation == measured
    same, other = load(str(tmp_path / "pets")), load(str(tmp_path / "pets"), seed=1)
    assert torch.equal(same.test.images, data.test.images)
    assert not torch.equal(other.test.images, data.test.images)


def test_given_parts_are_kept(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test", ("dog",), 3)
    fill(tmp_path / "val", ("cat", "dog"), 2)
    data = load(str(tmp_path))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [40, 4, 3]
    # A class keeps its number where others are absent.
    assert data.test.labels.tolist() == [1, 1, 1]


def test_numbered_classes_are_in_numerical_order(tmp_path: Path) -> None:
    _, _, names = read_folder(fill(tmp_path, ("10", "9", "2"), 1))
    assert names == ("2", "9", "10")


def test_grey_stays_grey_and_channels_convert(tmp_path: Path) -> None:
    fill(tmp_path, mode="L")
    assert load(str(tmp_path)).description.image_shape == (1, 4, 6)
    assert load(str(tmp_path), channels=3).description.image_shape == (3, 4, 6)
    paint(tmp_path / "cat" / "colour.png")
    mixed = load(str(tmp_path))
    assert mixed.description.image_shape == (3, 4, 6)
    assert any("40 grey among 1 in colour, given three equal channels (channels 1" in note for note in mixed.notes)
    assert load(str(tmp_path), channels=1).description.image_shape == (1, 4, 6)


def test_image_size_scales_and_cuts_the_middle(tmp_path: Path) -> None:
    fill(tmp_path)
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = 255
    Image.fromarray(wide).save(tmp_path / "cat" / "wide.png")
    with pytest.raises(UserError, match="give image_size"):
        load(str(tmp_path))
    images, _, _ = read_folder(tmp_path, image_size=4)
    assert images.shape == (41, 3, 4, 4)
    assert any(bool((image == 255).all()) for image in images)
    assert read_folder(tmp_path, image_size=8)[0].shape == (41, 3, 8, 8)


def test_litter_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    assert len(read_folder(tmp_path)[1]) == 40


def test_measure_equals_the_float_statistics() -> None:
    images = torch.randint(0, 256, (7, 3, 5, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    values = images.double() / 255
    measured = measure(images)
    assert measured.mean == pytest.approx(values.mean((0, 2, 3)).tolist())
    assert measured.std == pytest.approx(values.std((0, 2, 3), correction=0).tolist())
    assert measure(torch.full((2, 1, 3, 3), 7, dtype=torch.uint8)).std == (1 / 255,)


def empty_class(root: Path) -> None:
    (root / "mouse").mkdir()


def one_class(root: Path) -> None:
    for file in (root / "dog").iterdir():
        file.unlink()
    (root / "dog").rmdir()


def text_file(root: Path) -> None:
    (root / "cat" / "notes.txt").write_text("hello")


def not_an_image(root: Path) -> None:
    (root / "cat" / "broken.png").write_bytes(b"not a picture")


def truncated(root: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "cat" / "cut.png")
    whole = (root / "cat" / "cut.png").read_bytes()
    (root / "cat" / "cut.png").write_bytes(whole[:60])


def faint(root: Path) -> None:
    Image.fromarray(np.full((4, 6), 4000, dtype=np.uint16)).save(root / "cat" / "faint.png")


def too_few(root: Path) -> None:
    for name in ("cat", "dog"):
        for file in list((root / name).iterdir())[1:]:
            file.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (empty_class, "mouse' holds no images"),
        (one_class, "holds one class, 'cat'"),
        (text_file, "notes.txt' is not an image"),
        (not_an_image, "broken.png' cannot be read as an image"),
        (truncated, "cut.png' cannot be read as an image"),
        (faint, "8 bits would keep fewer than 16 levels"),
        (too_few, "give more images"),
    ],
)
def test_refusals(tmp_path: Path, spoil: object, said: str) -> None:
    fill(tmp_path)
    assert callable(spoil)
    spoil(tmp_path)
    with pytest.raises(UserError, match=said) as refused:
        load(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_more_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        load(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(UserError, match="holds no folders"):
        load(str(tmp_path))
    fill(tmp_path)
    with pytest.raises(UserError, match="1 or more"):
        load(str(tmp_path), image_size=0)
    with pytest.raises(UserError, match="1 for grey or 3"):
        load(str(tmp_path), channels=2)
    with pytest.raises(UserError, match="named after none of the classes"):
        read_folder(tmp_path, class_names=("cat", "mouse"))
    fill(tmp_path / "two" / "train")
    fill(tmp_path / "two" / "test", size=(3, 3))
    with pytest.raises(UserError, match="two/test/cat/0.png' is 3x3 but .*two/train/cat/0.png' 6x4; give image_size"):
        load(str(tmp_path / "two"))
