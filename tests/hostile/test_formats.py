"""Pictures are decoded in seven formats, whatever their names end in: an EPS called x.png starts no Ghostscript."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from gendistill.cli import main
from gendistill.data import load
from gendistill.data.pictures import FORMATS, SUFFIXES, Blob, read_picture
from gendistill.errors import UserError
from gendistill.teacher import StoredImages, export
from gendistill.teacher.folder import read_image_folder
from gendistill.teacher.imports import import_teacher

HOUSE = Path(__file__).parent.parent.parent
PICTURE = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))


def written(form: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    PICTURE.convert(mode).save(buffer, format=form)
    return buffer.getvalue()


EPS = written("EPS")
OTHERS: dict[str, Callable[[], bytes]] = {
    "EPS": lambda: EPS,
    "EPS with a preview": lambda: b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + bytes(22) + EPS,
    "PDF": lambda: written("PDF"),
    "JPEG 2000": lambda: written("JPEG2000"),
    "ICO": lambda: written("ICO"),
    "PCX": lambda: written("PCX"),
    "TGA": lambda: written("TGA"),
    "DDS": lambda: written("DDS"),
    "SGI": lambda: written("SGI"),
    "IM": lambda: written("IM"),
    "XBM": lambda: written("XBM", "1"),
    "MSP": lambda: written("MSP", "1"),
    "DIB": lambda: written("DIB"),
    "PSD": lambda: b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\10\0\0\0\10\0\10\0\3" + bytes(64),
    "WMF": lambda: b"\xd7\xcd\xc6\x9a" + bytes(100),
    "EMF": lambda: b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(80),
    "FITS": lambda: b"SIMPLE  =                    T".ljust(2880),
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(100),
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    "XPM": lambda: b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #000000", "a"};',
    "a script": lambda: b"#!/bin/sh\ntouch sprung\n",
    "a pickle": lambda: b"\x80\x04cos\nsystem\n(S'touch sprung'\ntR.",
}


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program ``gs`` on the path that leaves a mark, as Pillow starts it; returns the mark."""
    program, mark = tmp_path / "programs" / "gs", tmp_path / "started"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", str(program))
    # That the trap can spring: Pillow, asked without formats, starts it.
    with pytest.raises(subprocess.CalledProcessError), Image.open(io.BytesIO(EPS)) as opened:
        opened.load()
    assert mark.exists() and shutil.which("gs") == str(program)
    mark.unlink()
    return mark


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("case", OTHERS)
def test_nothing_but_the_named_formats_is_decoded(case: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(OTHERS[case]())
    for source in (path, Blob("row 3", path.read_bytes())):
        with pytest.raises(UserError, match="cannot be read as an image"):
            read_picture(source)


@pytest.mark.parametrize("form", FORMATS)
def test_the_named_formats_are(form: str, tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(written(form))
    assert read_picture(tmp_path / "x.gif").size == (8, 8)


def teacher() -> StoredImages:
    data = load("digits")
    images, labels = data.train.batch(torch.arange(20), data.description.normalisation)
    return StoredImages(images, labels, data.description)


def class_folders(root: Path) -> list[str]:
    for part in ("train/0", "train/1", "test/0", "test/1"):
        (root / part).mkdir(parents=True)
        for number in range(4):
            PICTURE.save(root / part / f"{number}.png")
    (root / "train/0/1.png").write_bytes(EPS)
    return ["evaluate", "real", "--dataset", str(root)]


def labelled_by_a_table(root: Path) -> list[str]:
    root.mkdir()
    for number in range(8):
        PICTURE.save(root / f"{number}.png")
    rows = "".join(f"{number}.png,{number % 2}\n" for number in range(8))
    (root / "metadata.csv").write_text(f"file_name,label\n{rows}")
    (root / "5.png").write_bytes(EPS)
    return ["evaluate", "real", "--dataset", str(root)]


def parquet(root: Path) -> list[str]:
    pyarrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    root.mkdir()
    pictures = [{"bytes": EPS if number == 5 else written("PNG"), "path": f"{number}.png"} for number in range(8)]
    table = pyarrow.table({"image": pictures, "label": [number % 2 for number in range(8)]})
    tables.write_table(table, root / "train-00000-of-00001.parquet")
    return ["evaluate", "real", "--dataset", str(root)]


def tiny_imagenet(root: Path) -> list[str]:
    for wnid in ("n01", "n02"):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for number in range(4):
            PICTURE.save(root / "train" / wnid / "images" / f"{number}.JPEG", format="JPEG")
    (root / "val" / "images").mkdir(parents=True)
    for number in range(2):
        PICTURE.save(root / "val" / "images" / f"val_{number}.JPEG", format="JPEG")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\nval_1.JPEG\tn02\n")
    (root / "wnids.txt").write_text("n01\nn02\n")
    (root / "val" / "images" / "val_1.JPEG").write_bytes(EPS)
    return ["evaluate", "real", "--dataset", str(root)]


def mhist(root: Path) -> list[str]:
    (root / "images").mkdir(parents=True)
    rows = ["Image Name,Majority Vote Label,Partition"]
    for number in range(40):
        PICTURE.save(root / "images" / f"{number}.png")
        rows.append(f"{number}.png,{('HP', 'SSA')[number % 2]},{'test' if number < 8 else 'train'}")
    (root / "annotations.csv").write_text("\n".join(rows) + "\n")
    (root / "images" / "20.png").write_bytes(EPS)
    return ["evaluate", "real", "--dataset", "mhist", "--data-root", str(root)]


def exported_pictures(root: Path) -> list[str]:
    export(teacher(), root, "png")
    next(root.glob("0_*/*.png")).write_bytes(EPS)
    return ["evaluate", str(root)]


def exported_parquet(root: Path) -> list[str]:
    pyarrow, tables = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    export(teacher(), root, "parquet")
    file = root / "data" / "train-00000-of-00001.parquet"
    table = tables.read_table(file)
    pictures = [one if row else {"bytes": EPS, "path": "0.png"} for row, one in enumerate(table["image"].to_pylist())]
    tables.write_table(table.set_column(0, "image", pyarrow.array(pictures)), file)
    return ["evaluate", str(root)]


def folder_of_a_teacher(root: Path) -> list[str]:
    for label in range(10):
        (root / str(label)).mkdir(parents=True)
        PICTURE.save(root / str(label) / "a.png")
    (root / "7" / "a.png").write_bytes(EPS)
    return ["evaluate", str(root)]


PLACES = (class_folders, labelled_by_a_table, parquet, tiny_imagenet, mhist, exported_pictures, exported_parquet,
          folder_of_a_teacher)  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_postscript_is_run_nowhere(
    place: Callable[[Path], list[str]], ghostscript: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = place(tmp_path / "given")
    assert main([*words, "--updates", "1", "--seeds", "2", "--device", "cpu", "--no-fidelity"]) == 2
    said = capsys.readouterr().err
    assert "cannot be read as an image (it is none of PNG, JPEG, WEBP, GIF, BMP, TIFF, PPM)" in said
    assert not ghostscript.exists()


def test_imports_run_no_postscript_either(ghostscript: Path, tmp_path: Path) -> None:
    exported_pictures(tmp_path / "given")
    with pytest.raises(UserError, match="cannot be read as an image"):
        import_teacher(tmp_path / "given", load("digits"))
    folder_of_a_teacher(tmp_path / "made")
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_image_folder(tmp_path / "made")
    assert not ghostscript.exists()


OPENERS = {
    "imread", "open_image", "default_loader", "pil_loader", "accimage_loader", "read_image", "decode_image",
    "decode_jpeg", "decode_gif", "decode_webp", "ImageFolder", "DatasetFolder", "imdecode",
}  # fmt: skip


def test_one_place_opens_pictures() -> None:
    """Every other one goes through it; what Pillow opens there is among the named formats."""
    found = []
    for path in (*HOUSE.glob("gendistill/**/*.py"), *HOUSE.glob("trainers/**/*.py"), *HOUSE.glob("tools/**/*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "open" in text or "code" in text or "load" in text else ():
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                opens = (node.value.id, node.attr) == ("Image", "open") or node.attr in OPENERS
            else:
                opens = isinstance(node, ast.Name) and node.id in OPENERS
            if opens:
                found.append(path.relative_to(HOUSE).as_posix())
    assert set(found) == {"gendistill/data/pictures.py"}
    calls = [
        {word.arg for word in node.keywords}
        for node in ast.walk(ast.parse((HOUSE / "gendistill/data/pictures.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open"
    ]
    assert calls and all(call == {"formats"} for call in calls)
