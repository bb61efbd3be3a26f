from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.data import load
from gendistill.data.description import Description, Normalisation, symmetric
from gendistill.errors import UserError
from gendistill.teacher import StoredImages, export, open_teacher
from gendistill.teacher.folder import class_folder, read_image_folder


def picture(path: Path, value: int, size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), value, dtype=np.uint8)).save(path)


@pytest.mark.parametrize(
    "names",
    [("top", "middle", "bottom"), ("0", "1", "2"), ("0_top", "1_middle", "2_bottom"), ("Top", "MIDDLE", "bottom")],
)
def test_folders_are_matched_to_the_classes_of_the_data(
    names: tuple[str, ...], description: Description, tmp_path: Path
) -> None:
    for label, name in enumerate(names):
        picture(tmp_path / name / "a.png", 100 * label)
        picture(tmp_path / name / "b.png", 100 * label + 20)
    teacher = read_image_folder(tmp_path, description)
    assert teacher.description == description
    pixels = description.normalisation.invert(teacher.images)[:, 0, 0, 0] * 255
    expected = {0: [0, 20], 1: [100, 120], 2: [200, 220]}
    for label, values in expected.items():
        assert pixels[teacher.labels == label].round().tolist() == values


def test_without_data_the_folders_name_the_classes(tmp_path: Path) -> None:
    picture(tmp_path / "dog" / "a.png", 0)
    picture(tmp_path / "cat" / "a.png", 255)
    teacher = read_image_folder(tmp_path)
    assert teacher.description.class_names == ("cat", "dog") and teacher.labels.tolist() == [0, 1]
    torch.testing.assert_close(teacher.images.mean(), torch.tensor(0.0))
    torch.testing.assert_close(teacher.images.std(correction=0), torch.tensor(1.0))


def test_folders_and_images_that_do_not_fit_are_refused(description: Description, tmp_path: Path) -> None:
    picture(tmp_path / "a" / "left" / "a.png", 0)
    with pytest.raises(UserError, match="left' is named after none of the classes of 'bands': top, middle, bottom"):
        read_image_folder(tmp_path / "a", description)
    picture(tmp_path / "b" / "top" / "a.png", 0, size=5)
    picture(tmp_path / "b" / "top" / "b.png", 0, size=4)
    with pytest.raises(UserError, match=r"b.png' is 4x4 but .*a.png' 5x5; say which data set they stand for \(data\)"):
        read_image_folder(tmp_path / "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match="holds no folders"):
        read_image_folder(tmp_path / "c", description)


@pytest.fixture
def exported(description: Description, tmp_path: Path) -> Path:
    teacher = StoredImages(torch.zeros(3, 1, 4, 4), torch.eye(3), description)
    export(teacher, tmp_path / "out", "png")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("teacher.json", lambda text: text[:-10], "not a whole export"),
        ("teacher.json", lambda text: "[]", "not a whole export"),
        ("teacher.json", lambda text: text.replace("class_names", "names"), "not complete"),
        ("teacher.json", lambda text: text.replace('"stratified"', '"sorted"'), "shuffled, fixed"),
        ("metadata.csv", lambda text: text.split("\n")[0], "lists no images"),
        ("metadata.csv", lambda text: text.replace("file_name", "name"), "not a whole export"),
        ("metadata.csv", lambda text: text.replace("0_top/0.png", "../../secret.png"), "lies outside"),
        ("metadata.csv", lambda text: text.replace("0_top/0.png", "0_top/9.png"), "cannot be read as an image"),
        ("metadata.csv", lambda text: text.replace("[1.0", "[x"), "not a whole export"),
        ("metadata.csv", lambda text: text.replace("[1.0", "[NaN"), "NaN"),
    ],
)
def test_a_changed_export_gets_one_sentence(file: str, change: object, sentence: str, exported: Path) -> None:
    path = exported / file
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(UserError, match=sentence) as caught:
        read_image_folder(exported)
    assert "\n" not in str(caught.value)


def test_an_exported_image_of_another_size_is_refused(exported: Path) -> None:
    picture(exported / "1_middle" / "1.png", 3, size=6)
    with pytest.raises(UserError, match="6x6 pixels, 'bands' 4x4"):
        read_image_folder(exported)


def test_class_folders_sort_in_label_order_and_are_safe() -> None:
    description = Description("x", tuple(["a/b", "../c", "ü b"] + [str(n) for n in range(9)]), (1, 2, 2), symmetric(1))
    names = [class_folder(label, description) for label in range(12)]
    assert names[:3] == ["00_a_b", "01_.._c", "02_ü_b"] and names == sorted(names)
    assert json.dumps(names)


def test_images_are_brought_to_the_shape_of_the_data_and_it_is_said(
    description: Description, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("top", "middle", "bottom"):
        picture(tmp_path / "x" / name / "a.png", 40, size=8)
        picture(tmp_path / "x" / name / "b.png", 40, size=4)
        (tmp_path / "x" / name / "c.png").parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 6), (40, 40, 40)).save(tmp_path / "x" / name / "c.png")
    teacher = read_image_folder(tmp_path / "x", description)
    assert teacher.images.shape == (9, 1, 4, 4)
    assert (description.normalisation.invert(teacher.images) * 255).round().unique().tolist() == [40]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err == "note: pictures of the teacher 'x': 6 brought to 4x4, the middle cut out (the last from 12x6)\n"
    )
    colour = Description("colour", description.class_names, (3, 6, 8), symmetric(3))
    assert read_image_folder(tmp_path / "x", colour).images.shape == (9, 3, 6, 8)


def test_the_training_part_of_other_layouts_is_the_teacher(
    description: Description, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "val"):
        for label, name in enumerate(("top", "middle", "bottom")):
            picture(tmp_path / part / name / "a.png", 100 * label)
    teacher = read_image_folder(tmp_path, description)
    assert teacher.labels.tolist() == [2, 1, 0] and len(teacher.images) == 3
    assert "passed over: 3 of the validation part" in capsys.readouterr().err


def test_soft_labels_of_a_parquet_export_are_not_dropped(description: Description, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    soft = StoredImages(torch.zeros(3, 1, 4, 4), torch.eye(3) * 0.7 + 0.1, description)
    export(soft, tmp_path / "soft", "parquet")
    assert torch.equal(read_image_folder(tmp_path / "soft", description).labels, soft.labels)
    # Without its notes it is a folder of pictures like any other.
    (tmp_path / "soft" / "teacher.json").unlink()
    with pytest.raises(UserError, match="soft labels, which are not read from Parquet"):
        read_image_folder(tmp_path / "soft", description)
    hard = StoredImages(torch.zeros(3, 1, 4, 4), torch.arange(3), description)
    export(hard, tmp_path / "hard", "parquet")
    assert read_image_folder(tmp_path / "hard", description).labels.tolist() == [0, 1, 2]


def test_transparent_pictures_of_a_teacher_are_laid_on_the_ground_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("data", "teacher"):
        for name, grey in (("a", 0), ("b", 200)):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(3):
                ground = (grey, grey, grey) if part == "data" else (grey, 0, 0, 0 if number else 255)
                image = Image.new("RGB" if part == "data" else "RGBA", (2, 2), ground)
                image.putpixel((0, 0), (number, 0, 0, 255)[: len(ground)])
                image.save(tmp_path / part / name / f"{number}.png")
    for background, level in ((None, 255), ("black", 0)):
        data = load(str(tmp_path / "data"), background=background)
        capsys.readouterr()
        teacher = open_teacher(tmp_path / "teacher", data)
        said = capsys.readouterr().err
        shown = teacher.description.normalisation.invert(teacher.everything()[0]).mul(255).round()
        assert shown[1, :, 1, 1].tolist() == [level] * 3
        assert f"4 transparent, laid on {background or 'white'}\n" in said


def test_a_teacher_of_which_nothing_is_seen_gets_advice_that_can_be_followed(
    description: Description, tmp_path: Path
) -> None:
    for name in description.class_names:
        (tmp_path / name).mkdir()
        Image.new("RGBA", (4, 4), (255, 255, 255, 99)).save(tmp_path / name / "0.png")
    with pytest.raises(UserError, match="is seen on white, .*; save it without transparency"):
        read_image_folder(tmp_path, description)


def test_colour_that_a_teacher_loses_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2), (200, 0, 0)).save(tmp_path / name / "red.png")
        Image.new("RGB", (2, 2), (9, 9, 9)).save(tmp_path / name / "grey.png")
    description = Description("grey", ("a", "b"), (1, 2, 2), Normalisation((0.5,), (0.5,)))
    assert read_image_folder(tmp_path, description).images.shape == (4, 1, 2, 2)
    assert "2 in colour, made grey" in capsys.readouterr().err
