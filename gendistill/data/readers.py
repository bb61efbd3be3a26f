"""Reading the official files of public data sets into uint8 arrays, wherever they lie, without writing anything."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gendistill.errors import UserError

Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, C, H, W) uint8 and labels (N,)."""


def present(path: Path) -> Path | None:
    """Return ``path`` or ``path`` + ``.gz``, whichever exists, else None."""
    return next((candidate for candidate in (path, path.with_name(path.name + ".gz")) if candidate.is_file()), None)


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes, the format of MNIST, packed with gzip or not.

    Args:
        path: The file; a name that ends in ``.gz`` is unpacked in memory.

    Returns:
        The array of the shape that the file states, uint8.

    Raises:
        UserError: The file is damaged or not an IDX file of bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"'{path}' is damaged ({error}); delete it and fetch it again") from error
    # Two zero bytes, the type (8 = unsigned byte), the number of dimensions, then each dimension as 32 bits.
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise UserError(f"'{path}' is not an IDX file of bytes; fetch the official file again")
    header = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:header], dtype=">u4").astype(np.int64).tolist()
    if len(content) != header + math.prod(shape):
        raise UserError(f"'{path}' states the shape {tuple(shape)} but is of another length; fetch it again")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_idx_pair(folder: Path, part: str) -> Arrays:
    """Read the images and labels of one part (``train`` or ``t10k``) of an MNIST-like set."""
    images_path, labels_path = (present(folder / f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    if images_path is None or labels_path is None:
        raise UserError(f"'{folder}' holds no complete part '{part}'; put the images and the labels file there")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise UserError(f"'{images_path}' holds {images.shape} pixels but its labels file {labels.shape}; fetch both")
    return images[:, None], labels


def read_cifar(base: Path, dataset: Any) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Read CIFAR-10 or CIFAR-100 through torchvision.

    The batches are pickles, and a pickle can run code. So each file's md5 sum is compared with the official one before
    any of them is opened, here to name the file that differs and in torchvision itself.

    Args:
        base: The folder that holds ``dataset.base_folder``.
        dataset: torchvision's class.

    Returns:
        Train, test and the class names.

    Raises:
        UserError: A file is not the official one.
    """
    from torchvision.datasets.utils import check_integrity

    sums = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    for name, md5 in sums:
        path = base / dataset.base_folder / name
        if not check_integrity(str(path), md5):
            raise UserError(f"'{path}' is not the official file (its md5 sum differs); delete it and fetch it again")
    train, test = dataset(str(base), train=True, download=False), dataset(str(base), train=False, download=False)
    arrays = [(part.data.transpose(0, 3, 1, 2), np.asarray(part.targets)) for part in (train, test)]
    return arrays[0], arrays[1], tuple(train.classes)


def read_svhn(folder: Path, part: str) -> Arrays:
    """Read one part (``train`` or ``test``) of SVHN's cropped digits; the label 10 of the files is the digit 0."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = folder / f"{part}_32x32.mat"
    try:
        content = loadmat(str(path))
        images, labels = content["X"].transpose(3, 2, 0, 1), content["y"].astype(np.int64).ravel() % 10
    except (MatReadError, KeyError, ValueError, OSError, NotImplementedError, zlib.error) as error:
        raise UserError(f"'{path}' is not SVHN's MATLAB file ({error}); delete it and fetch it again") from error
    return images, labels


def read_usps(folder: Path, part: str) -> Arrays:
    """Read one part (``train`` or ``test``) of USPS, 16x16, from ``usps.h5`` or from LIBSVM's ``usps[.t].bz2``."""
    packed = folder / ("usps.bz2" if part == "train" else "usps.t.bz2")
    if packed.is_file():
        from sklearn.datasets import load_svmlight_file

        try:
            values, labels = load_svmlight_file(str(packed), n_features=256)
            # Values are in [-1, 1], labels in 1..10.
            return _to_bytes((values.toarray() + 1) / 2), labels.astype(np.int64) - 1
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"'{packed}' is not LIBSVM's USPS file ({error}); delete it and fetch it again") from error
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"reading '{folder / 'usps.h5'}' needs h5py; install it (pip install h5py)") from error
    try:
        with h5py.File(folder / "usps.h5", "r") as file:
            return _to_bytes(file[part]["data"][:]), file[part]["target"][:].astype(np.int64)
    except (KeyError, OSError, ValueError) as error:
        path = folder / "usps.h5"
        raise UserError(f"'{path}' lacks '{part}/data' in 0..1 or '{part}/target' ({error}); fetch it again") from error


def read_stl10(folder: Path, part: str) -> Arrays:
    """Read one labelled part (``train`` or ``test``) of STL-10, 96x96; the files are column-major, labels 1..10."""
    pixels = np.fromfile(folder / f"{part}_X.bin", dtype=np.uint8)
    labels = np.fromfile(folder / f"{part}_y.bin", dtype=np.uint8).astype(np.int64)
    if pixels.size != labels.size * 3 * 96 * 96:
        raise UserError(f"'{folder / part}_X.bin' does not hold {labels.size} images of 3x96x96; fetch it again")
    return pixels.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2), labels - 1


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Return values (N, 256) in [0, 1] as (N, 1, 16, 16) uint8.

    Raises:
        ValueError: They are in other units.
    """
    if values.size and not (float(values.min()) >= -0.01 and float(values.max()) <= 1.01):
        raise ValueError(f"values go from {float(values.min()):.3g} to {float(values.max()):.3g}")
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8).reshape(-1, 1, 16, 16)
