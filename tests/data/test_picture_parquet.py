"""Parquet files of pictures, as ``datasets`` writes them and as other programs do."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.data import load
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.teacher import StoredImages, export

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def picture(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(
    path: Path,
    labels: list[Any],
    *,
    start: int = 0,
    names: object = ("cat", "dog"),
    image: str = "image",
    label: str = "label",
    struct: bool = True,
    noted: bool = True,
    **more: list[Any],
) -> None:
    """Write a file whose pictures have the levels ``start``, ``start + 1``, ..."""
    content: list[Any] = [picture(start + number) for number in range(len(labels))]
    images = pyarrow.array([{"bytes": one, "path": "x.png"} for one in content] if struct else content)
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    table = pyarrow.table({image: images, label: pyarrow.array(labels), **more})
    if noted:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)


def pairs(data: RealData, part: str) -> list[tuple[int, int]]:
    split = getattr(data, part)
    return sorted(zip(split.images[:, 0, 0, 0].tolist(), split.labels.tolist(), strict=True))


ALTERNATE = [0, 1] * 6


@pytest.mark.parametrize("place", ["data/{}-00000-of-00001", "{}-00000-of-00001", "{}/0000", "{}", "{}_file.1"])
def test_parts_are_told_by_the_names_of_files_or_folders(place: str, tmp_path: Path) -> None:
    for part, labels, start in (("train", ALTERNATE, 0), ("valid", [0, 1], 100), ("test", [1, 1], 200)):
        write(tmp_path / f"{place.format(part)}.parquet", labels, start=start)
    data = load(str(tmp_path))
    assert pairs(data, "train") == [(number, number % 2) for number in range(12)]
    assert pairs(data, "validation") == [(100, 0), (101, 1)] and pairs(data, "test") == [(200, 1), (201, 1)]
    assert data.description.class_names == ("cat", "dog") and data.description.image_shape == (1, 4, 4)
    assert "3 Parquet files of train, validation, test, column 'image' with the labels of 'label'" in data.notes[0]
    assert any("the test part has nothing of 'cat' (7 in all)" in note for note in data.notes)


def test_one_file_and_columns_of_others(tmp_path: Path) -> None:
    write(tmp_path / "pets.parquet", ALTERNATE, caption=["x"] * 12)
    data = load(str(tmp_path / "pets.parquet"))
    assert [len(data.train), len(data.validation), len(data.test)] == [8, 2, 2]
    assert "validation and test held out of train; passed over: column 'caption'" in data.notes[0]
    write(tmp_path / "plain.parquet", ["dog", "ant"] * 6, image="img", label="labels", struct=False, noted=False)
    assert load(str(tmp_path / "plain.parquet")).description.class_names == ("ant", "dog")
    write(tmp_path / "numbers.parquet", [10, 9] * 6, noted=False)
    data = load(str(tmp_path / "numbers.parquet"))
    assert data.description.class_names == ("9", "10")
    assert {(level % 2, label) for level, label in pairs(data, "train")} == {(0, 1), (1, 0)}
    write(tmp_path / "old.parquet", ALTERNATE, names={"0": "cat", "1": "dog"})
    assert load(str(tmp_path / "old.parquet")).description.class_names == ("cat", "dog")


def test_several_files_of_a_part_are_one_and_none_may_be_missing(tmp_path: Path) -> None:
    for shard in range(3):
        write(tmp_path / "data" / f"train-{shard:05d}-of-00003.parquet", [0, 1] * 40, start=0)
    assert sum(len(part) for part in (load(str(tmp_path)).train, load(str(tmp_path)).test)) > 200
    (tmp_path / "data" / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(UserError, match="is one of 3 files, and 00001 is missing; fetch all of them"):
        load(str(tmp_path))


def test_a_part_without_labels_is_passed_over_and_said(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", ALTERNATE)
    write(tmp_path / "test-0.parquet", [-1, -1])
    (tmp_path / "README.md").touch()
    data = load(str(tmp_path))
    assert len(data.test) == 2 and max(level for level, _ in pairs(data, "test")) < 12
    assert "passed over: README.md, test, which has no labels" in data.notes[0]


def test_our_own_export_comes_back(tmp_path: Path) -> None:
    digits = load("digits")
    images = digits.description.normalisation.apply(digits.test.images[:100])
    teacher = StoredImages(images, digits.test.labels[:100], digits.description)
    export(teacher, tmp_path / "out", "parquet")
    data = load(str(tmp_path / "out"))
    found = torch.cat([data.train.images, data.validation.images, data.test.images])
    assert data.description.class_names == digits.description.class_names
    assert sorted(map(tuple, found.flatten(1).tolist())) == sorted(
        map(tuple, digits.test.images[:100].flatten(1).tolist())
    )


def test_a_parquet_file_beside_class_folders_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ALTERNATE)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(picture(number))
    data = load(str(tmp_path))
    assert data.description.class_names == ("a", "b") and "passed over: train.parquet" in data.notes[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": [0, 2] * 6}, "has the label '2', which is none of the 2 classes"),
        ({"labels": [0, None] * 6}, "row 1 of .* has no single label in 'label'"),
        ({"labels": [[0], [1]] * 6, "noted": False}, "row 0 of .* has no single label"),
        (
            {"labels": ALTERNATE, "label": "animal", "noted": False},
            "has no one column of labels, but 'image', 'animal'; say",
        ),
        (
            {"labels": ALTERNATE, "image": "photo", "noted": False},
            "has no one column of images, but 'photo', 'label'; call",
        ),
        ({"labels": ALTERNATE, "names": []}, "notes no list of names"),
        ({"labels": ALTERNATE, "names": [1, 2]}, "notes no list of names"),
        (
            {"labels": ["a", "b"] * 6, "fine_label": ["a"] * 12, "label": "coarse_label", "noted": False},
            "has no one column of labels, .*; say which one is meant with label_column",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    write(tmp_path / "x.parquet", **options)
    with pytest.raises(UserError, match=said) as refused:
        load(str(tmp_path / "x.parquet"))
    assert "\n" not in str(refused.value)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write(path, ALTERNATE)
    content = path.read_bytes()
    for damaged in (b"", b"PAR1", content[:-20], content[:300] + content[400:], b"no parquet at all" * 9):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be read as Parquet"):
            load(str(path))
    table = pyarrow.table({"image": pyarrow.array([{"bytes": None, "path": "a.png"}] * 4), "label": [0, 1, 0, 1]})
    parquet.write_table(table, path)
    with pytest.raises(UserError, match="has no one column of images"):
        load(str(path))
    images = [{"bytes": picture(1), "path": None}, {"bytes": None, "path": "a.png"}] * 4
    table = pyarrow.table({"image": pyarrow.array(images), "label": [0, 1] * 4})
    parquet.write_table(table, path)
    with pytest.raises(UserError, match="row 1 of .*x.parquet' holds no image in 'image' but at most the path"):
        load(str(path))
    table = table.replace_schema_metadata({"huggingface": "{"})
    parquet.write_table(table, path)
    with pytest.raises(UserError, match="notes its columns in a way that cannot be read"):
        load(str(path))


def test_the_column_of_labels_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write(path, ["a", "b"] * 6, label="coarse", noted=False, fine=["w", "x", "y"] * 4)
    for column in ("fine", 3, "3"):
        assert load(str(path), label_column=column).description.class_names == ("w", "x", "y")
    assert load(str(path), label_column="coarse").description.class_names == ("a", "b")
    with pytest.raises(
        UserError, match="label_column is 'lable', but the columns of .* are image, coarse, fine; give one"
    ):
        load(str(path), label_column="lable")
    with pytest.raises(UserError, match="row 0 of .* has no single label in 'image'"):
        load(str(path), label_column=1)
    # Of two that are noted, the one that is called label.
    features = {
        "image": {"_type": "Image"},
        "kind": {"names": ["p", "q"], "_type": "ClassLabel"},
        "label": {"names": ["a", "b"], "_type": "ClassLabel"},
    }
    table = pyarrow.table({"image": [{"bytes": picture(1)}] * 8, "kind": [0, 1] * 4, "label": [1, 0] * 4})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path)
    assert load(str(path)).description.class_names == ("a", "b")
    assert load(str(path), label_column="kind").description.class_names == ("p", "q")
    with pytest.raises(
        UserError, match="label_column is for tables of texts and of pictures of one's own; 'digits' has"
    ):
        load("digits", label_column="x")


def test_two_names_of_one_part_and_no_train_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "test-0.parquet", ALTERNATE)
    with pytest.raises(UserError, match="Parquet files of test but none of train"):
        load(str(tmp_path / "a"))
    for name in ("train", "val", "dev"):
        write(tmp_path / "b" / f"{name}-0.parquet", ALTERNATE)
    with pytest.raises(UserError, match="holds both 'dev' and 'val'"):
        load(str(tmp_path / "b"))


def test_without_pyarrow_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.parquet", ALTERNATE)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"needs pyarrow; install it with: pip install 'gendistill\[parquet\]'"):
        load(str(tmp_path / "x.parquet"))
