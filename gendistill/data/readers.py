"""Reading the official files of public data sets into uint8 arrays, wherever they lie, without writing anything."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gendistill import budget
from gendistill.data.official import verify
from gendistill.errors import UserError
from gendistill.regular import regular

Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, C, H, W) uint8 and labels (N,)."""


def present(path: Path) -> Path | None:
    """Return ``path`` or ``path`` + ``.gz``, whichever exists, else None."""
    candidates = (path, path.with_name(path.name + ".gz"))
    return next((candidate for candidate in candidates if regular(candidate).is_file()), None)


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes, the format of MNIST, packed with gzip or not.

    Args:
        path: The file; a name that ends in ``.gz`` is unpacked in memory.

    Returns:
        The array of the shape that the file states, uint8.

    Raises:
        UserError: The file is damaged or not an IDX file of bytes, or unpacks to more than it may.
    """
    try:
        content = budget.unpacked(regular(path), gzip.open if path.suffix == ".gz" else open)
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


def read_idx_pair(folder: Path, part: str, name: str) -> Arrays:
    """Read the images and labels of one part (``train`` or ``t10k``) of an MNIST-like set.

    Args:
        folder: Where they lie.
        part: The beginning of the files' names.
        name: The data set, whose official sums they must have.

    Raises:
        UserError: A file is missing, another one or damaged.
    """
    images_path, labels_path = (present(folder / f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    if images_path is None or labels_path is None:
        raise UserError(f"'{folder}' holds no complete part '{part}'; put the images and the labels file there")
    images, labels = (read_idx(verify(name, path)) for path in (images_path, labels_path))
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise UserError(f"'{images_path}' holds {images.shape} pixels but its labels file {labels.shape}; fetch both")
    return images[:, None], labels


def read_cifar(base: Path, dataset: Any, name: str) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Read CIFAR-10 or CIFAR-100 through torchvision.

    The batches are pickles, and a pickle can run code. So each file's md5 sum is compared with the official one before
    any of them is opened, here to name the file that differs and in torchvision itself.

    Args:
        base: The folder that holds ``dataset.base_folder``.
        dataset: torchvision's class.
        name: The data set, whose official sums they must have.

    Returns:
        Train, test and the class names.

    Raises:
        UserError: A file is not the official one.
    """
    for file in (*(file for file, _ in (*dataset.train_list, *dataset.test_list)), dataset.meta["filename"]):
        verify(name, base / dataset.base_folder / file)
    train, test = dataset(str(base), train=True, download=False), dataset(str(base), train=False, download=False)
    arrays = [(part.data.transpose(0, 3, 1, 2), np.asarray(part.targets)) for part in (train, test)]
    return arrays[0], arrays[1], tuple(train.classes)


def read_svhn(folder: Path, part: str) -> Arrays:
    """Read one part (``train`` or ``test``) of SVHN's cropped digits; the label 10 of the files is the digit 0."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    # A flipped bit in such a file ends the process inside of SciPy.
    path = verify("svhn", folder / f"{part}_32x32.mat")
    try:
        content = loadmat(str(path))
        images, labels = content["X"].transpose(3, 2, 0, 1), content["y"].astype(np.int64).ravel() % 10
    except (MatReadError, LookupError, ValueError, TypeError, OSError, NotImplementedError, zlib.error) as error:
        raise UserError(f"'{path}' is not SVHN's MATLAB file ({error}); delete it and fetch it again") from error
    return images, labels


def read_usps(folder: Path, part: str) -> Arrays:
    """Read one part (``train`` or ``test``) of USPS, 16x16, from ``usps.h5`` or from LIBSVM's ``usps[.t].bz2``."""
    packed = folder / ("usps.bz2" if part == "train" else "usps.t.bz2")
    if regular(packed).is_file():
        from sklearn.datasets import load_svmlight_file

        try:
            content = budget.unpacked(verify("usps", packed), bz2.open)
            budget.check(content.count(b"\n") * 256 * 8, len(content), budget.quoted(packed))
            values, labels = load_svmlight_file(io.BytesIO(content), n_features=256)
            # Values are in [-1, 1], labels in 1..10.
            return _to_bytes((values.toarray() + 1) / 2), labels.astype(np.int64) - 1
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"'{packed}' is not LIBSVM's USPS file ({error}); delete it and fetch it again") from error
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"reading '{folder / 'usps.h5'}' needs h5py; install it (pip install h5py)") from error
    path = verify("usps", folder / "usps.h5")
    try:
        with h5py.File(path, "r") as file:
            values, labels = (_numbers(file[part][name], path) for name in ("data", "target"))
            return _to_bytes(values), labels.astype(np.int64)
    except (LookupError, OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"'{path}' lacks '{part}/data' in 0..1 or '{part}/target' ({error}); fetch it again") from error


def _numbers(dataset: Any, path: Path) -> np.ndarray:
    """Read the finite numbers of a data set of an HDF5 file, whose shape need not be backed by anything in the file."""
    if dataset.dtype.kind not in "fiu":
        raise ValueError(f"it holds {dataset.dtype}")
    budget.check(math.prod(dataset.shape) * max(8, dataset.dtype.itemsize), path.stat().st_size, budget.quoted(path))
    values = np.asarray(dataset[:])
    if not np.isfinite(values).all():
        raise ValueError("it holds numbers that are not finite")
    return values


def read_stl10(folder: Path, part: str) -> Arrays:
    """Read one labelled part (``train`` or ``test``) of STL-10, 96x96; the files are column-major, labels 1..10."""
    pixels = np.fromfile(verify("stl10", folder / f"{part}_X.bin"), dtype=np.uint8)
    labels = np.fromfile(verify("stl10", folder / f"{part}_y.bin"), dtype=np.uint8).astype(np.int64)
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
