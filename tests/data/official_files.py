"""Small files in the official format of every public data set, and the data that they must give."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from gendistill.data import RealData, official

TRAIN, TEST = 40, 20
CIFAR = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


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


def take_as_official(name: str, root: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the files below a folder be the official ones of a data set."""
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}
    patch.setitem(official.SUMS, name, sums)


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
