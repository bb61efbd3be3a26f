"""Which file is of which part and class, in the layouts that are in use, and what is said of it."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.cli import main
from gendistill.data import RealData, load
from gendistill.errors import UserError

Level = int


def paint(path: Path, level: Level = 100, size: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), level, dtype=np.uint8)).save(path)


def fill(
    root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 6, start: Level = 0, inner: str = ""
) -> Path:
    """Make ``root/<class>/<number>.png``: the level of a picture tells its class and number."""
    for label, name in enumerate(classes):
        for number in range(count):
            paint(root / name / inner / f"{number}.png", start + 10 * label + number)
    return root


def sizes(data: RealData) -> list[int]:
    return [len(data.train), len(data.validation), len(data.test)]


def levels(data: RealData, part: str) -> list[tuple[int, int]]:
    split = getattr(data, part)
    return sorted(zip(split.images[:, 0, 0, 0].tolist(), split.labels.tolist(), strict=True))


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training"])
@pytest.mark.parametrize(
    ("validation", "test"), [("valid", "Test"), ("Val", "test"), ("VALIDATION", "testing"), ("dev", "eval")]
)
def test_parts_are_known_by_every_usual_name(train: str, validation: str, test: str, tmp_path: Path) -> None:
    fill(tmp_path / train, count=6)
    fill(tmp_path / validation, count=3, start=100)
    fill(tmp_path / test, count=2, start=200)
    data = load(str(tmp_path))
    assert sizes(data) == [12, 6, 4]
    assert levels(data, "validation") == [(100, 0), (101, 0), (102, 0), (110, 1), (111, 1), (112, 1)]
    assert levels(data, "test") == [(200, 0), (201, 0), (210, 1), (211, 1)]
    assert f"{train}/, {validation}/, {test}/ with a folder for each class" in data.notes[0]
    assert "images: 12 train, 6 validation, 4 test" in data.notes[0] and "held out" not in data.notes[0]


def test_the_layout_and_what_is_passed_over_are_said_on_stderr_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "pets" / "train")
    fill(tmp_path / "pets" / "val", count=1)
    fill(tmp_path / "pets" / "extra", count=1)
    (tmp_path / "pets" / "README.md").write_text("x")
    paint(tmp_path / "pets" / "loose.png")
    data = load(f"folder:{tmp_path / 'pets'}")
    assert capsys.readouterr() == (
        "",
        "note: 'pets': train/, val/ with a folder for each class; 2 classes, images: 12 train, 2 validation; test held "
        "out of train; passed over: 1 picture in no class folder, extra/, README.md\n",
    )
    assert sizes(data) == [10, 2, 2]


def test_a_class_may_be_called_as_a_part_is(tmp_path: Path) -> None:
    for names in (("bus", "train"), ("cat", "dog", "test"), ("plane", "test", "train", "val")):
        data = load(str(fill(tmp_path / "-".join(names), names)))
        assert data.description.class_names == names
    fill(tmp_path / "parts" / "train", ("bus", "train"))
    fill(tmp_path / "parts" / "test", ("bus", "train"), count=2)
    data = load(str(tmp_path / "parts"))
    assert data.description.class_names == ("bus", "train") and len(data.test) == 4


def only_flat_parts(root: Path) -> None:
    fill(root, ("train", "test"))


def two_of_one_part(root: Path) -> None:
    fill(root / "train")
    fill(root / "val", count=1)
    fill(root / "valid", count=1)


def no_train(root: Path) -> None:
    fill(root / "test")
    fill(root / "val")


def a_test_part_beside_classes(root: Path) -> None:
    fill(root)
    fill(root / "test", count=1)


def a_train_part_beside_classes(root: Path) -> None:
    fill(root, ("bus", "plane"))
    fill(root / "train", ("steam", "diesel"))


def folders_in_classes(root: Path) -> None:
    fill(root / "a", ("x", "y"))
    fill(root / "b", ("x", "y"))


def one_folder_of_folders(root: Path) -> None:
    fill(root / "pets")


def a_folder_among_pictures(root: Path) -> None:
    fill(root)
    fill(root / "cat", ("deeper",))


def no_class_folders(root: Path) -> None:
    paint(root / "a.png")


def another_class_in_test(root: Path) -> None:
    fill(root / "train")
    fill(root / "test", ("cat", "cow"))


def a_dead_link(root: Path) -> None:
    fill(root)
    (root / "cat" / "link.png").symlink_to(root / "gone.png")


def a_pipe(root: Path) -> None:
    fill(root)
    os.mkfifo(root / "cat" / "pipe.png")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (only_flat_parts, "holds 'test', 'train' alone.*either parts whose pictures have no classes, or classes"),
        (two_of_one_part, "holds both 'val' and 'valid', and either may be the validation part"),
        (no_train, "holds 'test', 'val' but no train; name the folder of the training part 'train'"),
        (
            a_test_part_beside_classes,
            "holds 'test' with folders in it beside 'cat', 'dog': these are parts .* or classes",
        ),
        (a_train_part_beside_classes, "holds 'train' with folders in it beside 'bus', 'plane'"),
        (
            folders_in_classes,
            r"a' holds folders \('x', 'y'\) and no pictures of its own; move the pictures of each class",
        ),
        (one_folder_of_folders, r"pets' holds folders \('cat', 'dog'\) .*; give '.*/pets' itself, or move"),
        (a_folder_among_pictures, "deeper' is a folder; class folders may hold"),
        (no_class_folders, "holds 1 picture but no folders"),
        (another_class_in_test, "cow' is named after none of the classes: cat, dog"),
        (a_dead_link, "link.png' is a link to nothing"),
        (a_pipe, "pipe.png' is not an image"),
    ],
)
def test_what_has_more_than_one_reading_or_none_is_refused(
    spoil: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    spoil(tmp_path)
    with pytest.raises(UserError, match=said) as refused:
        load(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_links_upper_case_and_litter(tmp_path: Path) -> None:
    fill(tmp_path / "real")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "cat").symlink_to(tmp_path / "real" / "cat")
    fill(tmp_path / "x", ("dog",))
    (tmp_path / "x" / "dog" / "0.png").rename(tmp_path / "x" / "dog" / "0.PNG")
    (tmp_path / "x" / "dog" / "7.Png").symlink_to(tmp_path / "real" / "dog" / "1.png")
    for litter in ("__MACOSX/a.png", "@eaDir/b.png", ".git/c.png"):
        paint(tmp_path / "x" / litter)
    (tmp_path / "x" / "dog" / "Thumbs.db").touch()
    data = load(str(tmp_path / "x"))
    assert sum(sizes(data)) == 13 and "passed over" not in data.notes[0]


def test_the_same_inner_folder_of_every_class_is_looked_into(tmp_path: Path) -> None:
    fill(tmp_path, inner="images")
    (tmp_path / "cat" / "boxes.txt").touch()
    assert sum(sizes(load(str(tmp_path)))) == 12


def tiny_imagenet(root: Path) -> Path:
    """A set as Tiny-ImageNet is given out: 64x64 JPEG, some of them grey."""
    wnids = ("n02124075", "n01443537", "n04067472")
    for label, wnid in enumerate(wnids):
        for number in range(20):
            paint(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", 40 * label, size=64)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("0\t1\t2\t3\n")
    rows = []
    for number in range(9):
        paint(root / "val" / "images" / f"val_{number}.JPEG", 40 * (number % 3) + 20, size=64)
        rows.append(f"val_{number}.JPEG\t{wnids[number % 3]}\t0\t0\t9\t9\n")
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    paint(root / "test" / "images" / "test_0.JPEG", size=64)
    (root / "wnids.txt").write_text("\n".join(wnids) + "\n")
    words = (
        "n01443537\tgoldfish, Carassius auratus",
        "n02124075\tEgyptian cat",
        "n04067472\treel",
        "n9\tno class of this",
    )
    (root / "words.txt").write_text("\n".join(words) + "\n")
    return root


def test_tiny_imagenet_as_it_is_given_out(tmp_path: Path) -> None:
    data = load(str(tiny_imagenet(tmp_path / "tiny-imagenet-200")))
    assert data.description.class_names == ("goldfish", "Egyptian cat", "reel")
    assert data.description.image_shape == (3, 64, 64)
    assert sizes(data) == [54, 6, 9]
    # In the order of the numbers: goldfish was written second, at level 40.
    assert [label for _, label in levels(data, "test")] == [1, 1, 1, 0, 0, 0, 2, 2, 2]
    assert {(level // 10 * 10, label) for level, label in levels(data, "train")} <= {(40, 0), (0, 1), (80, 2)}
    assert "as the test part val/, on which results are published" in data.notes[0]
    assert "validation held out of train; passed over: test/, which has no labels" in data.notes[0]


def test_a_damaged_tiny_imagenet_is_refused(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path)
    table = root / "val" / "val_annotations.txt"
    whole = table.read_text()
    for text, said in (
        (whole + "../../x.JPEG\tn01443537\t0\n", "has the line '../../x.JPEG"),
        (whole + "val_9.JPEG\tn00000000\t0\n", "no file and one of the classes"),
        (whole + "val_9.JPEG\tn01443537\t0\n", "1 of the 10 files"),
        ("", "0 of the 0 files"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=said):
            load(str(root))
    table.write_text(whole)
    for file in (root / "train" / "n04067472" / "images").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="n04067472/images' holds no images"):
        load(str(root))


def test_the_validation_part_of_imagenets_classes_is_the_test(tmp_path: Path) -> None:
    names = ("n01440764", "n02102040")
    fill(tmp_path / "imagenette" / "train", names, count=20)
    fill(tmp_path / "imagenette" / "val", names, count=5, start=100)
    (tmp_path / "imagenette" / "noisy_imagenette.csv").touch()
    data = load(str(tmp_path / "imagenette"))
    assert sizes(data) == [36, 4, 10] and data.description.class_names == names
    assert min(level for level, _ in levels(data, "test")) == 100
    assert "as the test part the validation images, on which results are published" in data.notes[0]
    # Where a test part is given, both stay what they are called.
    fill(tmp_path / "imagenette" / "test", names, count=2, start=200)
    assert sizes(load(str(tmp_path / "imagenette"))) == [40, 10, 4]


def table(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            written = csv.DictWriter(file, list(rows[0]))
            written.writeheader()
            written.writerows(rows)


def rows_of(folder: Path, count: int = 12, below: str = "", start: Level = 0) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number in range(count):
        paint(folder / below / f"{number:02d}.png", start + number)
        rows.append({"file_name": f"{below}{number:02d}.png", "label": ("dog", "cat")[number % 2], "text": "x"})
    return rows


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_imagefolder_with_a_table(name: str, tmp_path: Path) -> None:
    for part, count in (("train", 12), ("validation", 4), ("test", 2)):
        table(tmp_path / part / name, rows_of(tmp_path / part, count))
    data = load(str(tmp_path))
    assert sizes(data) == [12, 4, 2] and data.description.class_names == ("cat", "dog")
    assert levels(data, "train") == [(number, 1 - number % 2) for number in range(12)]
    assert f"labels of train/{name}, validation/{name}, test/{name}" in data.notes[0]


def test_one_table_for_all_parts_and_one_without_parts(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "a", 12, "train/") + rows_of(tmp_path / "a", 4, "test/", start=100)
    table(tmp_path / "a" / "metadata.csv", rows)
    data = load(str(tmp_path / "a"))
    assert sizes(data) == [10, 2, 4] and levels(data, "test")[0] == (100, 1)
    rows = rows_of(tmp_path / "b", 12, "shard/")
    for number, row in enumerate(rows):
        row["label"] = number % 3
    table(tmp_path / "b" / "metadata.jsonl", rows)
    paint(tmp_path / "b" / "shard" / "99.png")
    data = load(str(tmp_path / "b"))
    assert sizes(data) == [6, 3, 3] and data.description.class_names == ("0", "1", "2")
    assert "passed over: 1 picture that no row lists" in data.notes[0]


def test_a_table_that_says_what_the_folders_say_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "plain", ("0_cat", "1_dog"))
    fill(tmp_path / "noted", ("0_cat", "1_dog"))
    rows = [
        {"file_name": f"{label}_{name}/{number}.png", "label": label, "class_name": name}
        for label, name in enumerate(("cat", "dog"))
        for number in range(6)
    ]
    table(tmp_path / "noted" / "metadata.csv", rows)
    plain, noted = load(str(tmp_path / "plain")), load(str(tmp_path / "noted"))
    assert plain.description.class_names == noted.description.class_names == ("0_cat", "1_dog")
    for part in ("train", "validation", "test"):
        assert levels(plain, part) == levels(noted, part)
    # Unless it is asked.
    named = load(str(tmp_path / "noted"), label_column="class_name")
    assert named.description.class_names == ("cat", "dog")
    # Without labels it says nothing of classes.
    table(tmp_path / "plain" / "metadata.csv", [{"file_name": "0_cat/0.png", "text": "a cat"}])
    assert load(str(tmp_path / "plain")).description.class_names == ("0_cat", "1_dog")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"file_name": "../../secret.png"}, "row 1 of .* names no file below its folder"),
        ({"file_name": "/etc/secret.png"}, "row 1 of .* names no file below its folder"),
        ({"file_name": "gone.png"}, "lists 1 file that cannot be found, such as .*gone.png"),
        ({"file_name": "01.png"}, "lists '01.png' twice"),
        ({"label": ["cat", "dog"]}, "row 1 of .* has no single label in 'label'"),
        ({"file": "x"}, None),
    ],
)
def test_tables_are_not_trusted(change: dict[str, object], said: str | None, tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    rows[0] |= change
    table(tmp_path / "metadata.jsonl", rows)
    if said is None:
        assert sum(sizes(load(str(tmp_path)))) == 12
        return
    with pytest.raises(UserError, match=said):
        load(str(tmp_path))


def test_more_damaged_tables(tmp_path: Path) -> None:
    rows_of(tmp_path)
    for content, said in (
        ("", "lists no pictures"),
        ("{\n", "cannot be read"),
        ("[1, 2]\n", "a row that is not an object"),
        ('{"image": "00.png", "label": "cat"}\n', "has no column 'file_name', but 'image', 'label'"),
        ('{"file_name": "00.png", "text": "cat"}\n', r"say which of its columns \('text'\) holds the classes"),
    ):
        (tmp_path / "metadata.jsonl").write_text(content)
        with pytest.raises(UserError, match=said):
            load(str(tmp_path))
    other = tmp_path / "other"
    fill(other)
    table(
        other / "metadata.csv", [{"file_name": f"{name}/0.png", "label": "cow"[:0] or name} for name in ("cat", "dog")]
    )
    assert sum(sizes(load(str(other)))) == 12
    table(
        other / "metadata.csv", [{"file_name": "cat/0.png", "label": "dog"}, {"file_name": "dog/0.png", "label": "cat"}]
    )
    with pytest.raises(UserError, match="other labels than the folders that they lie in"):
        load(str(other))


def test_names_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "x")
    latin = os.fsdecode(bytes(tmp_path / "x" / "caf") + b"\xe9")
    Path(latin).mkdir()
    paint(Path(latin) / "a.png")
    with pytest.raises(UserError, match=r"class folder 'caf\\xe9' has a name that is not UTF-8; rename it"):
        load(str(tmp_path / "x"))
    assert main(["evaluate", "real", "--dataset", str(tmp_path / "x")]) == 2
    assert r"caf\xe9" in capsys.readouterr().err
    # The names of pictures, and of the folder itself, are in no file that is written.
    (Path(latin) / "a.png").unlink()
    Path(latin).rmdir()
    named = os.fsdecode(bytes(tmp_path / "x" / "cat") + b"/\xff.png")
    paint(Path(named), 250)
    renamed = Path(os.fsdecode(bytes(tmp_path) + b"/d\xe9"))
    (tmp_path / "x").rename(renamed)
    data = load(str(renamed))
    assert data.description.name == r"d\xe9" and sum(sizes(data)) == 13
    for note in data.notes:
        note.encode()
    Path(os.fsdecode(bytes(renamed) + b"/cat/\xff.png")).write_bytes(b"x")
    with pytest.raises(UserError, match=r"\\xff.png' cannot be read") as refused:
        load(str(renamed))
    str(refused.value).encode()
    assert main(["evaluate", "real", "--dataset", str(renamed)]) == 2
    assert "is not UTF-8; rename the file or folder" in capsys.readouterr().err


def test_other_files_are_told_from_folders(tmp_path: Path) -> None:
    (tmp_path / "pets.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="is a file, and no Parquet file; .*unpacked"):
        load(str(tmp_path / "pets.zip"))
    with pytest.raises(UserError, match="there is no folder"):
        load(str(tmp_path / "gone"))


def test_a_test_part_without_classes_is_passed_over_and_said(tmp_path: Path) -> None:
    fill(tmp_path / "train", count=20)
    paint(tmp_path / "test" / "1.png")
    data = load(str(tmp_path))
    assert sum(sizes(data)) == 40 and "passed over: test/ (no class folders)" in data.notes[0]
    (tmp_path / "test" / "images").mkdir()
    (tmp_path / "test" / "1.png").rename(tmp_path / "test" / "images" / "1.png")
    assert "passed over: test/ (no class folders)" in load(str(tmp_path)).notes[0]


def test_tiny_imagenet_put_in_order_by_someone(tmp_path: Path) -> None:
    root = tiny_imagenet(tmp_path)
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (root / "val" / wnid / "images").mkdir(parents=True, exist_ok=True)
        (root / "val" / "images" / name).rename(root / "val" / wnid / "images" / name)
    (root / "val" / "images").rmdir()
    data = load(str(root), channels=3)
    assert sizes(data) == [54, 6, 9] and data.description.class_names == ("n01443537", "n02124075", "n04067472")
    assert [label for _, label in levels(data, "test")] == [1, 1, 1, 0, 0, 0, 2, 2, 2]


def test_rare_classes_are_divided_and_what_is_missing_is_said(tmp_path: Path) -> None:
    for name, count in (("common", 40), ("rare", 2), ("single", 1)):
        fill(tmp_path, (name,), count)
    data = load(str(tmp_path))
    counts = [part.labels.bincount(minlength=3).tolist() for part in (data.train, data.validation, data.test)]
    assert counts[0][1:] == [1, 1] and counts[1][1:] == [0, 0] and counts[2][1:] == [1, 0]
    assert [note.partition(": ")[2] for note in data.notes[1:]] == [
        "the validation part has nothing of 'rare' (2 in all), 'single' (1 in all): choices are made without them",
        "the test part has nothing of 'single' (1 in all): the accuracy says nothing of them",
    ]


def test_a_table_whose_classes_go_by_another_name_says_how_to_name_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"file_name": f"{number}.png", "species": "ab"[number % 2]} for number in range(12)]
    for folder in (tmp_path / "one", tmp_path / "parts" / "train"):
        for number in range(12):
            paint(folder / f"{number}.png", 10 * number)
        table(folder / "metadata.csv", rows)
    judge = ["--updates", "1", "--seeds", "1", "--lr", "0.1", "--no-fidelity", "--device", "cpu"]
    for name in ("one", "parts"):
        words = ["evaluate", "real", "--dataset", str(tmp_path / name), *judge]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "say which of its columns ('species') holds the classes with --label-column" in said
        assert main([*words, "--label-column", "species"]) == 0
