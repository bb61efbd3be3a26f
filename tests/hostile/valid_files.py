"""A small sound file for every reader, to be damaged: who writes it, and who reads it."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from gendistill.data import readers
from gendistill.data.description import Description
from gendistill.data.folder import load_folder
from gendistill.data.mhist import load_mhist
from gendistill.data.real import RealData, Split
from gendistill.data.text_files import read_corpora
from gendistill.data.word_vectors import read_glove
from gendistill.evaluation.cache import read_tensors, write_tensors
from gendistill.experts.files import read_header, read_snapshot, write_expert
from gendistill.mimicry.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from gendistill.nas.truth import read_table
from gendistill.nets.spaces import ConvNetSpace
from gendistill.teacher import StoredImages, files
from gendistill.teacher.export import export
from gendistill.teacher.imports import import_teacher
from gendistill.yaml_file import read_yaml

DESCRIPTION = Description("dots", ("a", "b"), (1, 4, 4))


class Reader(NamedTuple):
    """One reader.

    Attributes:
        make: Writes what it reads into an empty folder and returns the file that is to be damaged.
        read: Reads it, given that file.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]


def data() -> RealData:
    images = torch.arange(8 * 16, dtype=torch.uint8).view(8, 1, 4, 4)
    part = Split(images, torch.arange(8) % 2)
    return RealData(DESCRIPTION, part, part, part)


def teacher() -> StoredImages:
    images = torch.linspace(-1, 1, 4 * 16).view(4, 1, 4, 4)
    return StoredImages(images, torch.tensor([0, 1, 0, 1]), DESCRIPTION, order="fixed", batch_size=2)


def saved_in_bytes(folder: Path) -> Path:
    files.save(teacher().in_eight_bits(), folder / "t.safetensors")
    return folder / "t.safetensors"


def saved_teacher(folder: Path) -> Path:
    files.save(teacher(), folder / "t.safetensors")
    return folder / "t.safetensors"


def saved(legacy: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = {"images": torch.rand(4, 1, 4, 4) * 0.5, "labels": torch.tensor([0, 1, 0, 1]), "lr": 0.1}
        torch.save(content, folder / "images.pt", _use_new_zipfile_serialization=not legacy)
        return folder / "images.pt"

    return make


def exported(form: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        export(teacher(), folder / "out", form)
        return folder / "out" / name

    return make


def read_exported(depth: int) -> Callable[[Path], Any]:
    return lambda path: import_teacher(path.parents[depth], data())


def picture(form: str, mode: str = "RGB", **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        values = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        image = (
            Image.fromarray(values).convert(mode)
            if mode != "I;16"
            else Image.fromarray(values[..., 0].astype(np.uint16) * 257)
        )
        for number in range(4):
            for name in ("a", "b"):
                (folder / name).mkdir(exist_ok=True)
                image.save(folder / name / f"{number}.png", form, **options)
        return folder / "a" / "0.png"

    return make


def read_pictures(path: Path) -> Any:
    return load_folder(path.parents[1])


def picture_table(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        rows = [{"file_name": f"{number}.png", "label": str(number % 2)} for number in range(8)]
        for row in rows:
            Image.new("L", (3, 3), 90).save(folder / row["file_name"])
        with (folder / name).open("w", newline="") as file:
            if name.endswith("csv"):
                writer = csv.DictWriter(file, ["file_name", "label"])
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.write("\n".join(map(json.dumps, rows)))
        return folder / name

    return make


def parquet(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    Image.new("L", (3, 3), 90).save(buffer, "PNG")
    table = pyarrow.table({"image": [{"bytes": buffer.getvalue()}] * 12, "label": [0, 1] * 6})
    pyarrow.parquet.write_table(table, folder / "train.parquet")
    return folder / "train.parquet"


def mhist(folder: Path) -> Path:
    (folder / "images").mkdir()
    lines = ["Image Name,Majority Vote Label,Number,Partition"]
    for number in range(16):
        Image.new("RGB", (3, 3), (90, number, 9)).save(folder / "images" / f"{number}.png")
        lines.append(f"{number}.png,{('HP', 'SSA')[number % 2]},1,{'test' if number > 11 else 'train'}")
    (folder / "annotations.csv").write_text("\n".join(lines))
    return folder / "annotations.csv"


def tiny_imagenet(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        wnids = ["n00000001", "n00000002"]
        (folder / "val" / "images").mkdir(parents=True)
        for number, wnid in enumerate(wnids):
            (folder / "train" / wnid / "images").mkdir(parents=True)
            for place in range(3):
                Image.new("RGB", (3, 3), (90, place, 9)).save(folder / "train" / wnid / "images" / f"{place}.JPEG")
            Image.new("RGB", (3, 3), (90, 1, 9)).save(folder / "val" / "images" / f"val_{number}.JPEG")
        (folder / "wnids.txt").write_text("\n".join(wnids))
        (folder / "words.txt").write_text("n00000001\tcat, feline\nn00000002\tdog")
        (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn00000001\t0\nval_1.JPEG\tn00000002\t0\n")
        return folder / name

    return make


def idx(packed: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = b"\0\0\x08\x03" + struct.pack(">III", 3, 4, 4) + bytes(range(48))
        path = folder / ("x-idx3-ubyte.gz" if packed else "x-idx3-ubyte")
        path.write_bytes(gzip.compress(content) if packed else content)
        return path

    return make


def usps_bz2(folder: Path) -> Path:
    lines = [f"{label} " + " ".join(f"{place}:{0.5:.3f}" for place in range(1, 257)) for label in (1, 2, 10)]
    (folder / "usps.bz2").write_bytes(bz2.compress("\n".join(lines).encode()))
    return folder / "usps.bz2"


def usps_h5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "usps.h5", "w") as file:
        file["train/data"], file["train/target"] = np.full((3, 256), 0.5, "f4"), np.arange(3)
    return folder / "usps.h5"


def svhn(folder: Path) -> Path:
    from scipy.io import savemat

    path = folder / "train_32x32.mat"
    savemat(path, {"X": np.zeros((32, 32, 3, 4), "u1"), "y": np.ones((4, 1), "u1")}, do_compression=True)
    return path


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        return folder / name

    return make


def texts_in_folders(folder: Path) -> Path:
    for label in ("good", "bad"):
        for number in range(6):
            text(f"{label}/{number}.txt", f"{label} words here {number}")(folder)
    return folder / "good" / "0.txt"


def expert(folder: Path) -> Path:
    write_expert(folder / "e.safetensors", {"w": torch.rand(2, 3)}, {"a": 1}, 0, 0.5)
    return folder / "e.safetensors"


def read_expert(path: Path) -> Any:
    return read_header(path), read_snapshot(path, 1)


def mimicry(folder: Path) -> Path:
    return write_checkpoint(folder, "netG", Checkpoint({"l.weight": torch.rand(2, 2)}, {"state": {}}, 5))


def cached(folder: Path) -> Path:
    write_tensors(folder / "c.safetensors", {"x": torch.rand(3)}, {"a": "1"})
    return folder / "c.safetensors"


SENTENCES = [
    ("good", "what a nice film"),
    ("bad", "no no never"),
    ("good", "nice and warm"),
    ("bad", "never again"),
] * 4
TABLE = "architecture,accuracy\nconvnet-d3-w128-k3-instance-relu-average,0.5\n"
CONFIG = "a: &x {b: [1, 2.5, yes]}\nc: *x\nd: {f: *x, e: 'text'}\n"
VECTORS = "2 3\nnice 0.1 0.2 0.3\nnever 1 2 3\n"

READERS: dict[str, Reader] = {
    "teacher": Reader(saved_teacher, files.load),
    "teacher in bytes": Reader(saved_in_bytes, files.load),
    "teacher's metadata": Reader(saved_teacher, files.describe),
    "torch zip": Reader(saved(False), lambda path: import_teacher(path, data())),
    "torch legacy": Reader(saved(True), lambda path: import_teacher(path, data())),
    "mimicry": Reader(mimicry, read_checkpoint),
    "expert": Reader(expert, read_expert),
    "cache": Reader(cached, read_tensors),
    "export: notes": Reader(exported("png", "teacher.json"), read_exported(0)),
    "export: index": Reader(exported("png", "metadata.csv"), read_exported(0)),
    "export: Parquet": Reader(exported("parquet", "data/train-00000-of-00001.parquet"), read_exported(1)),
    "export: tensors": Reader(exported("pt", "images.pt"), read_exported(0)),
    "PNG": Reader(picture("PNG"), read_pictures),
    "PNG of 16 bits": Reader(picture("PNG", "I;16"), read_pictures),
    "PNG, palette": Reader(picture("PNG", "P", transparency=3), read_pictures),
    "JPEG": Reader(picture("JPEG"), read_pictures),
    "GIF": Reader(picture("GIF"), read_pictures),
    "BMP": Reader(picture("BMP"), read_pictures),
    "TIFF": Reader(picture("TIFF", compression="tiff_lzw"), read_pictures),
    "WEBP": Reader(picture("WEBP"), read_pictures),
    "PPM": Reader(picture("PPM"), read_pictures),
    "picture table, csv": Reader(picture_table("metadata.csv"), lambda path: load_folder(path.parent)),
    "picture table, jsonl": Reader(picture_table("metadata.jsonl"), lambda path: load_folder(path.parent)),
    "Parquet": Reader(parquet, load_folder),
    "MHIST": Reader(mhist, lambda path: load_mhist(path.parent)),
    "Tiny-ImageNet: classes": Reader(tiny_imagenet("wnids.txt"), lambda path: load_folder(path.parent)),
    "Tiny-ImageNet: words": Reader(tiny_imagenet("words.txt"), lambda path: load_folder(path.parent)),
    "Tiny-ImageNet: val": Reader(tiny_imagenet("val/val_annotations.txt"), lambda path: load_folder(path.parents[1])),
    "IDX": Reader(idx(False), readers.read_idx),
    "IDX, gzip": Reader(idx(True), readers.read_idx),
    "USPS, bz2": Reader(usps_bz2, lambda path: readers.read_usps(path.parent, "train")),
    "USPS, HDF5": Reader(usps_h5, lambda path: readers.read_usps(path.parent, "train")),
    "SVHN": Reader(svhn, lambda path: readers.read_svhn(path.parent, "train")),
    "texts, csv": Reader(
        text("t.csv", "label,text\n" + "\n".join(f"{label},{words}" for label, words in SENTENCES)),
        read_corpora,
    ),
    "texts, tsv": Reader(
        text("t.tsv", "\n".join(f"{label}\t{words}" for label, words in SENTENCES)),
        read_corpora,
    ),
    "texts, jsonl": Reader(
        text("t.jsonl", "\n".join(json.dumps({"label": label, "text": words}) for label, words in SENTENCES)),
        read_corpora,
    ),
    "texts in folders": Reader(texts_in_folders, lambda path: read_corpora(path.parents[1])),
    "word vectors": Reader(text("v.txt", VECTORS), lambda path: read_glove(path, ("nice", "never", "film"))),
    "YAML": Reader(text("c.yaml", CONFIG), read_yaml),
    "accuracies": Reader(text("a.csv", TABLE), lambda path: read_table(path, ConvNetSpace())),
}
