"""Small files that expand to much: what reading each costs, in memory and time, and that it ends in one sentence.

Each is read in a process of its own that may have :data:`ROOM` more memory than it begins with and :data:`SECONDS` of
the processor. Run with another version of the package on ``PYTHONPATH``, it says what that one does.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import os
import pickle
import resource
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from gendistill.data import load, readers
from gendistill.data.folder import load_folder
from gendistill.errors import UserError
from gendistill.plain import plain
from gendistill.teacher.imports import import_teacher
from gendistill.yaml_file import parse_yaml, read_yaml

THREADS = 1
ROOM, SECONDS = 3 * 10**9, 20
MIB = 2**20


class Outcome(NamedTuple):
    """What reading a file cost.

    Attributes:
        said: The sentence; or how else it ended: ``read``, ``memory``, ``time``, ``died``, or the error's name.
        grown: Bytes of memory at the most beyond the beginning.
        seconds: Of the processor.
        size: Bytes of the file or folder.
    """

    said: str
    grown: int
    seconds: float
    size: int

    @property
    def refused(self) -> bool:
        """Whether it ended in a sentence for a person."""
        return " " in self.said


class Bomb(NamedTuple):
    """A file and how it is read.

    Attributes:
        make: Writes it into an empty folder and returns what is read.
        read: Reads it.
        expands: What it stands for, in words.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    expands: str


def _import(path: Path) -> Any:
    return import_teacher(path, load("digits"))


def _stride_zero(folder: Path) -> Path:
    images = torch.zeros(1).expand(10**9, 1, 8, 8)
    torch.save({"images": images, "labels": torch.zeros(1, dtype=torch.int64).expand(10**9)}, folder / "images.pt")
    return folder / "images.pt"


def _packed_zip(folder: Path) -> Path:
    whole = io.BytesIO()
    torch.save({"images": torch.zeros(6 * 10**6, 1, 4, 4), "labels": torch.zeros(6 * 10**6)}, whole)
    with (
        zipfile.ZipFile(whole) as given,
        zipfile.ZipFile(folder / "images.pt", "w", zipfile.ZIP_DEFLATED, True, 6) as packed,
    ):
        for entry in given.infolist():
            packed.writestr(entry.filename, given.read(entry))
    return folder / "images.pt"


def _same_step(folder: Path) -> Path:
    step = (torch.zeros(1000, 1, 8, 8), torch.zeros(1000, dtype=torch.int64), 0.1)
    last = (torch.ones(1000, 1, 8, 8), torch.zeros(1000, dtype=torch.int64), 0.1)
    torch.save([step] * 100_000 + [last], folder / "results.pth")
    return folder / "results.pth"


def _legacy(content: bytes, path: Path) -> Path:
    """Write what ``torch.save`` wrote before zip archives, around the opcodes of its content."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system))
    path.write_bytes(head + b"\x80\x02" + content + b"." + pickle.dumps([], 2))
    return path


def _laughing_key(folder: Path) -> Path:
    levels = b"".join(b"q%ch%c\x86" % (level, level) for level in range(60))
    return _legacy(b"})" + levels + b"Ns", folder / "images.pt")


def _deep_key(folder: Path) -> Path:
    return _legacy(b"})" + b"\x85" * 10**6 + b"Ns", folder / "images.pt")


def _bytearray(folder: Path) -> Path:
    return _legacy(
        b"cbuiltins\nbytearray\n\x8a\x05" + (2 * 10**9).to_bytes(5, "little") + b"\x85R", folder / "images.pt"
    )


def _picture(side: tuple[int, int], path: Path) -> None:
    """Write a PNG of one bit a pixel that is read in colour, black everywhere, without making it."""
    width, height = side
    packer = zlib.compressobj(9)
    row = b"\0" + b"\0" * -(-width // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    content = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)
    for name, data in ((b"IHDR", head), (b"PLTE", bytes([9, 99, 199, 0, 0, 0])), (b"IDAT", pixels), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)


def _pictures(side: tuple[int, int], each: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name in ("a", "b"):
            (folder / name).mkdir()
            for number in range(each):
                _picture(side, folder / name / f"{number}.png")
        return folder

    return make


def _table_of_pictures(folder: Path) -> Path:
    _picture((8, 8), folder / "0.png")
    columns = ["file_name", "label", *(f"c{number}" for number in range(10_000))]
    lines = [",".join(columns), *(f"{number}.png,{number % 2}" for number in range(10_000))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def _parquet(images: Callable[[], Any], count: int, repeated: bool = True) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import pyarrow
        import pyarrow.parquet

        labels = pyarrow.array(np.arange(count) % 2)
        kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.binary()) if repeated else pyarrow.binary()
        pictures = pyarrow.array(images(), kind)
        table = pyarrow.table({"image": pictures, "label": labels})
        pyarrow.parquet.write_table(
            table,
            folder / "train.parquet",
            use_dictionary=repeated,
            compression="zstd",
            store_schema=False,
            write_statistics=False,
        )
        return folder / "train.parquet"

    return make


def _noise(size: int) -> bytes:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _idx(folder: Path) -> Path:
    path = folder / "train-images-idx3-ubyte.gz"
    head = b"\0\0\x08\x03" + struct.pack(">III", 10**6, 10, 100)
    path.write_bytes(gzip.compress(head, 1) + gzip.compress(bytes(10**7), 1) * 100)
    return path


def _official(*names: str) -> None:
    """Let whatever lies there be the official files, where that is asked."""
    try:
        from gendistill.data import official
    except ImportError:
        return
    official.verify = readers.verify = lambda name, path: path  # type: ignore[assignment]


def _read_usps(folder: Path) -> Any:
    _official()
    return readers.read_usps(folder, "train")


def _usps_bz2(folder: Path) -> Path:
    (folder / "usps.bz2").write_bytes(bz2.compress(b"1 1:0\n") + bz2.compress(b"\n" * 10**7) * 100)
    return folder


def _usps_h5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "usps.h5", "w") as file:
        for name, shape in (("data", (10**7, 256)), ("target", (10**7,))):
            file.create_dataset(f"train/{name}", shape, "f4", chunks=True)
    return folder


def _yaml(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "config.yaml").write_text(text)
        return folder / "config.yaml"

    return make


def _read_config(path: Path) -> Any:
    return plain(read_yaml(path))


def _json_lines(folder: Path) -> Path:
    first = {"text": "a word", "label": "0", **{f"c{number}": "" for number in range(10_000)}}
    lines = [json.dumps(first), *('{"text":"word","label":"1"}' for _ in range(10_000))]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return folder / "texts.jsonl"


def _long_sentence(folder: Path) -> Path:
    with (folder / "texts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("label", "text"), *((number % 2, "a few words") for number in range(20_000))])
        writer.writerows([(number % 2, " ".join(["word"] * 20_000)) for number in range(6)])
    return folder / "texts.csv"


def _read_text(path: Path) -> Any:
    return load("text", root=path, embedding=2)


def _export_of_one(folder: Path) -> Path:
    from gendistill.data.description import Description
    from gendistill.teacher import StoredImages
    from gendistill.teacher.export import export

    description = Description("large", ("a", "b"), (1, 512, 512))
    teacher = StoredImages(torch.zeros(2, 1, 512, 512), torch.arange(2), description, order="fixed", batch_size=2)
    export(teacher, folder / "out", "png")
    index = folder / "out" / "metadata.csv"
    lines = index.read_text().splitlines()
    index.write_text("\n".join([lines[0], *lines[1:] * 10_000]))
    return folder / "out"


LAUGHS = "\n".join(["l0: &l0 {a: 1}", *(f"l{n}: &l{n} {{a: *l{n - 1}, b: *l{n - 1}}}" for n in range(1, 40))])

BOMBS: dict[str, Bomb] = {
    "torch: stride of 0": Bomb(_stride_zero, _import, "256 GB of images"),
    "torch: packed zip": Bomb(_packed_zip, _import, "408 MB of tensors"),
    "torch: one step many times": Bomb(_same_step, _import, "26 GB of images"),
    "torch: key of references": Bomb(_laughing_key, _import, "2^60 values to be hashed"),
    "torch: key a million deep": Bomb(_deep_key, _import, "a stack of a million calls"),
    "torch: bytearray(N)": Bomb(_bytearray, _import, "2 GB of zeros"),
    "picture of 13,000x13,000": Bomb(_pictures((13_000, 13_000), 2), load_folder, "676 MB a picture"),
    "60 pictures of 4,000x4,000": Bomb(_pictures((4000, 4000), 30), load_folder, "2.9 GB of pixels"),
    "--image-size 1000000": Bomb(
        _pictures((8, 8), 6), lambda path: load_folder(path, image_size=10**6), "12 TB of pixels"
    ),
    "picture of 65,000x1, --image-size 224": Bomb(
        _pictures((65_000, 1), 6), lambda path: load_folder(path, image_size=224), "13 GB before it is cut"
    ),
    "table of pictures, 10,000 columns": Bomb(_table_of_pictures, load_folder, "10^8 cells"),
    "Parquet: page of zeros": Bomb(
        _parquet(lambda: [bytes(280 * 10**6), b"1"], 2, False), load_folder, "280 MB in a cell"
    ),
    "Parquet: one picture in 100,000 rows": Bomb(
        _parquet(lambda: [_noise(300)] * 100_000, 100_000), load_folder, "9 GB of pictures"
    ),
    "Parquet: 10,000,000 rows": Bomb(_parquet(lambda: [b""] * 10**7, 10**7), load_folder, "10^7 values of Python"),
    "IDX: gzip of zeros": Bomb(_idx, readers.read_idx, "1 GB of pixels"),
    "USPS: bz2 of empty lines": Bomb(_usps_bz2, _read_usps, "1 GB of text"),
    "USPS: HDF5 without values": Bomb(_usps_h5, _read_usps, "10 GB of zeros"),
    "YAML: aliases": Bomb(_yaml(LAUGHS), _read_config, "2^40 values"),
    "YAML: nested": Bomb(_yaml("a: " + "[" * 100_000), _read_config, "100,000 levels"),
    "JSON lines: 10,000 names": Bomb(_json_lines, _read_text, "10^8 cells"),
    "text: long sentences among short ones": Bomb(_long_sentence, _read_text, "1.6 GB of padding"),
    "export: one picture in 20,000 rows": Bomb(_export_of_one, _import, "5.2 GB of pixels"),
}


def measure_one(bomb: Bomb, folder: Path, room: int = ROOM, seconds: int = SECONDS) -> Outcome:
    """Make a file in an empty folder and read it in a child of this process, which is stopped where it goes too far."""
    given = bomb.make(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    back, front = os.pipe()
    child = os.fork()
    if not child:
        try:
            _in_child(bomb, given, front, room, seconds)
        finally:
            os._exit(0)
    os.close(front)
    with os.fdopen(back, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    if answer:
        said, grown, spent = json.loads(answer)
        return Outcome(said, grown, spent, size)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return Outcome("time" if ended_by in (9, 24) else "died", room, float(seconds), size)


def _in_child(bomb: Bomb, given: Path, front: int, room: int, seconds: int) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory begins anew
    before, spent = _status("VmRSS"), time.process_time()
    used = int(spent)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, used + seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + room,) * 2)
    try:
        bomb.read(given)
        said = "read"
    except UserError as error:
        said = str(error)
    except MemoryError:
        said = "memory"
    except Exception as error:
        said = "memory" if "alloc" in str(error) else type(error).__name__
    grown = max(0, _status("VmHWM") - before)
    os.write(front, json.dumps([said, grown, time.process_time() - spent]).encode())


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def measure() -> dict[str, Any]:
    """Return, for each file, its size and what reading it costs."""
    load("digits")  # so that what it imports is not counted
    parse_yaml("a: 1", "warm")
    found = {}
    for name, bomb in BOMBS.items():
        with tempfile.TemporaryDirectory() as folder:
            one = measure_one(bomb, Path(folder))
        found[name] = {
            "bytes": one.size,
            "expands_to": bomb.expands,
            "ends": "a sentence" if one.refused else one.said,
            "mib": round(one.grown / MIB, 1),
            "cpu_seconds": round(one.seconds, 2),
        }
    return found
