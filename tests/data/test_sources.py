"""Every public data set, read from files that are made here in the official formats."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from gendistill.data import RealData, load, sources
from gendistill.data.load import NAMES, default_root
from gendistill.errors import UserError

TRAIN, TEST = 40, 20
CIFAR = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **options: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def content(shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images (count, *shape) and labels of ten classes in turn."""
    images = np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)
    return images, np.arange(count) % 10


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(side).to_bytes(4, "big") for side in array.shape)
    return header + array.astype(np.uint8).tobytes()


def make_idx(folder: str, packed: bool) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def make(root: Path, patch: pytest.MonkeyPatch) -> None:
        (root / folder / "raw").mkdir(parents=True)
        for part, count in (("train", TRAIN), ("t10k", TEST)):
            images, labels = content((28, 28), count)
            for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
                path = root / folder / "raw" / (name + ".gz" if packed else name)
                path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))

    return make


def make_cifar(name: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def make(root: Path, patch: pytest.MonkeyPatch) -> None:
        dataset, key = CIFAR[name], "labels" if name == "cifar10" else "fine_labels"
        folder = root / dataset.base_folder
        folder.mkdir(parents=True)

        def write(file: str, value: object) -> str:
            (folder / file).write_bytes(pickle.dumps(value))
            return hashlib.md5((folder / file).read_bytes()).hexdigest()

        def batches(files: list[str], count: int) -> list[list[str]]:
            images, labels = content((3, 32, 32), count)
            parts = np.array_split(np.arange(count), len(files))
            return [
                [file, write(file, {"data": images[part].reshape(len(part), -1), key: labels[part].tolist()})]
                for file, part in zip(files, parts, strict=True)
            ]

        patch.setattr(dataset, "train_list", batches([file for file, _ in dataset.train_list], TRAIN))
        patch.setattr(dataset, "test_list", batches([file for file, _ in dataset.test_list], TEST))
        meta = {dataset.meta["key"]: [f"class {number}" for number in range(10)]}
        patch.setattr(dataset, "meta", dataset.meta | {"md5": write(dataset.meta["filename"], meta)})

    return make


def make_svhn(root: Path, patch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    (root / "svhn").mkdir(parents=True)
    for part, count in (("train", TRAIN), ("test", TEST)):
        images, labels = content((3, 32, 32), count)
        file_labels = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        savemat(root / "svhn" / f"{part}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": file_labels})


def make_usps_bz2(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / "usps").mkdir(parents=True)
    for name, count in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        images, labels = content((256,), count)
        lines = [
            f"{label + 1} " + " ".join(f"{place + 1}:{value / 127.5 - 1:.6f}" for place, value in enumerate(image))
            for image, label in zip(images.tolist(), labels.tolist(), strict=True)
        ]
        (root / "usps" / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def make_usps_h5(root: Path, patch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    (root / "usps").mkdir(parents=True)
    with h5py.File(root / "usps" / "usps.h5", "w") as file:
        for part, count in (("train", TRAIN), ("test", TEST)):
            images, labels = content((256,), count)
            file[f"{part}/data"], file[f"{part}/target"] = (images / 255).astype(np.float32), labels


def make_stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / "stl10_binary").mkdir(parents=True)
    for part, count in (("train", TRAIN), ("test", TEST)):
        images, labels = content((3, 96, 96), count)
        images.transpose(0, 1, 3, 2).tofile(root / "stl10_binary" / f"{part}_X.bin")
        (labels + 1).astype(np.uint8).tofile(root / "stl10_binary" / f"{part}_y.bin")


MAKERS = {
    "mnist": (make_idx("MNIST", True), "mnist", (1, 28, 28)),
    "mnist unpacked": (make_idx("MNIST", False), "mnist", (1, 28, 28)),
    "fashion-mnist": (make_idx("FashionMNIST", True), "fashion-mnist", (1, 28, 28)),
    "cifar10": (make_cifar("cifar10"), "cifar10", (3, 32, 32)),
    "cifar100": (make_cifar("cifar100"), "cifar100", (3, 32, 32)),
    "svhn": (make_svhn, "svhn", (3, 32, 32)),
    "usps bz2": (make_usps_bz2, "usps", (1, 16, 16)),
    "usps h5": (make_usps_h5, "usps", (1, 16, 16)),
    "stl10": (make_stl10, "stl10", (3, 96, 96)),
}


def listing(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def expect(data: RealData, shape: tuple[int, int, int]) -> None:
    """Test images are as made, and train plus validation together are the training images."""
    images, labels = content(shape, TEST)
    assert torch.equal(data.test.images, torch.from_numpy(images))
    assert data.test.labels.tolist() == labels.tolist()
    assert (len(data.train), len(data.validation)) == (TRAIN - TRAIN // 10, TRAIN // 10)
    images, labels = content(shape, TRAIN)
    made = sorted(zip(images.reshape(TRAIN, -1).sum(1).tolist(), labels.tolist(), strict=True))
    parts = (data.train, data.validation)
    read = [
        (total, label)
        for part in parts
        for total, label in zip(part.images.flatten(1).sum(1).tolist(), part.labels.tolist(), strict=True)
    ]
    assert sorted(read) == made
    assert data.description.image_shape == shape
    assert len(data.description.class_names) == 10


@pytest.mark.parametrize("case", MAKERS)
def test_official_files_are_read_and_nothing_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, name, shape = MAKERS[case]
    make(tmp_path, monkeypatch)
    before = listing(tmp_path)
    expect(load(name, root=tmp_path), shape)
    assert listing(tmp_path) == before


def test_a_folder_of_its_own_below_the_root_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_stl10(tmp_path / "stl10", monkeypatch)
    expect(load("stl10", root=tmp_path), (3, 96, 96))


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["mnist"][0](tmp_path, monkeypatch)
    monkeypatch.setenv("GENDISTILL_DATA", str(tmp_path))
    expect(load("mnist"), (1, 28, 28))
    monkeypatch.delenv("GENDISTILL_DATA")
    assert default_root() == Path.home() / ".cache" / "gendistill"


@pytest.mark.parametrize("name", sources.SOURCES)
def test_missing_files_are_named_with_their_place(name: str, tmp_path: Path) -> None:
    source = sources.SOURCES[name]
    with pytest.raises(UserError) as refused:
        load(name, root=tmp_path / "data")
    sentence = str(refused.value)
    assert str(tmp_path / "data" / source.folder) in sentence
    assert all(file in sentence for alternative in source.files for file in alternative)
    assert "no network" in sentence and "\n" not in sentence
    assert not (tmp_path / "data").exists()


def test_download_moves_whole_files_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served, root = tmp_path / "served", tmp_path / "root"
    MAKERS["mnist"][0](served, monkeypatch)
    raw = served / "MNIST" / "raw"
    sums = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in raw.iterdir()]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    asked: list[str] = []

    class Response(io.BytesIO):
        length = 0
        url = None

    def serve(request: urllib.request.Request, **options: object) -> Response:
        name = request.full_url.rpartition("/")[2]
        asked.append(name)
        return Response((raw / name).read_bytes())

    monkeypatch.setattr("urllib.request.urlopen", serve)
    expect(load("mnist", root=root), (1, 28, 28))
    assert set(asked) == {name for name, _ in sums}
    asked.clear()
    expect(load("mnist", root=root), (1, 28, 28))
    assert asked == []
    assert len([name for name in listing(root) if name.endswith("ubyte")]) == 4
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("writable", [True, False])
def test_an_archive_is_unpacked_without_network(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKERS["cifar10"][0](tmp_path / "made", monkeypatch)
    root = tmp_path / "root"
    root.mkdir()
    archive = root / datasets.CIFAR10.filename
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "made" / datasets.CIFAR10.base_folder, datasets.CIFAR10.base_folder)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    # Permissions do not bind an administrator, under whom tests may run, so the answer is given for them.
    monkeypatch.setattr(os, "access", lambda *given: writable)
    expect(load("cifar10", root=root), (3, 32, 32))
    assert (root / datasets.CIFAR10.base_folder).exists() == writable
    assert not [name for name in listing(root) if name.startswith(".incoming")]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_changed_batch_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["cifar10"][0](tmp_path, monkeypatch)
    sprung = tmp_path / "sprung"
    payload = pickle.dumps(Trap(sprung))
    (tmp_path / datasets.CIFAR10.base_folder / "data_batch_3").write_bytes(payload)
    with pytest.raises(UserError, match="data_batch_3' is not the official file") as refused:
        load("cifar10", root=tmp_path)
    assert "\n" not in str(refused.value)
    assert not sprung.exists()
    # The trap works: what protects is that nobody opens it.
    pickle.loads(payload).close()
    assert sprung.exists()


def damage(path: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / path).write_bytes(change((root / path).read_bytes()))

    return spoil


@pytest.mark.parametrize(
    ("case", "spoil", "said"),
    [
        ("mnist", damage("MNIST/raw/train-images-idx3-ubyte.gz", lambda b: b[:-100]), "is damaged"),
        ("mnist", damage("MNIST/raw/train-images-idx3-ubyte.gz", lambda b: b"hello"), "is damaged"),
        ("mnist unpacked", damage("MNIST/raw/t10k-labels-idx1-ubyte", lambda b: b[:-1]), "another length"),
        ("mnist unpacked", damage("MNIST/raw/t10k-labels-idx1-ubyte", lambda b: b"<html>"), "not an IDX file"),
        ("mnist unpacked", damage("MNIST/raw/t10k-labels-idx1-ubyte", lambda b: b""), "not an IDX file"),
        ("mnist unpacked", damage("MNIST/raw/t10k-labels-idx1-ubyte", lambda b: idx(np.zeros(3))), "fetch both"),
        ("svhn", damage("svhn/test_32x32.mat", lambda b: b[: len(b) // 2]), "not SVHN's MATLAB file"),
        ("svhn", damage("svhn/test_32x32.mat", lambda b: b"<html>" * 99), "not SVHN's MATLAB file"),
        ("usps bz2", damage("usps/usps.bz2", lambda b: b[:-100]), "not LIBSVM's USPS file"),
        ("usps bz2", damage("usps/usps.bz2", lambda b: bz2.compress(b"1 2 3")), "not LIBSVM's USPS file"),
        ("usps h5", damage("usps/usps.h5", lambda b: b[:50]), "usps.h5' lacks"),
        ("stl10", damage("stl10_binary/test_X.bin", lambda b: b[:-1]), "does not hold 20 images"),
    ],
)
def test_damaged_files(
    case: str, spoil: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, name, _ = MAKERS[case]
    make(tmp_path, monkeypatch)
    spoil(tmp_path)
    with pytest.raises(UserError, match=said) as refused:
        load(name, root=tmp_path)
    assert "\n" not in str(refused.value)


def test_usps_h5_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    make_usps_h5(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="pip install h5py"):
        load("usps", root=tmp_path)


def test_unknown_names_and_options() -> None:
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        load("CIFAR-10")
    with pytest.raises(UserError, match="leave them out"):
        load("digits", image_size=16)


@pytest.mark.parametrize("name", sources.SOURCES)
def test_every_source_describes_itself(name: str) -> None:
    source = sources.SOURCES[name]
    assert name in NAMES
    assert len(source.normalisation.mean) in (1, 3)
