"""The official files of public data sets, told by their sums before anything in them is opened.

Most of their formats are read by libraries that trust what they read: a pickle can run code, and one flipped bit of a
MATLAB file can end the process. A file that has the published sum is what everybody else reads, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gendistill.budget import size_of, words
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.regular import regular

SUMS: dict[str, dict[str, str]] = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    "cifar100": {
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    "svhn": {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
    "usps": {
        "usps.bz2": "ec16c51db3855ca6c91edd34d0e9b197",
        "usps.t.bz2": "8ea070ee2aca1ac39742fdd1ef5ed118",
        "usps.h5": "355df6b942eb766252e0340bc019b0b9",
    },
    "stl10": {
        "stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb",
        "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
        "train_y.bin": "5a34089d4802c674881badbb80307741",
        "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
        "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    },
}
"""MD5 sums by data set and file name.

Those of packed files and of CIFAR, SVHN, USPS and STL-10 are torchvision's, which took them from the sets' pages; those
of unpacked IDX files follow from the packed ones; that of ``usps.h5`` is of the packaging that is in use, which has no
published sum.
"""

LARGEST = 3 * 10**9
"""Bytes of an official file, at most; the sum of one with a hole of terabytes would take days."""


def verify(name: str, path: Path) -> Path:
    """Return a file of a public data set after comparing its MD5 sum with the official one.

    Args:
        name: The data set, a key of :data:`SUMS`.
        path: The file, under its official name.

    Raises:
        UserError: It is another file, or no regular one.
        OSError: It is not there or cannot be read.
    """
    wanted, size = SUMS[name].get(path.name), size_of(regular(path))
    if size > LARGEST:
        why = f"it has {words(size)}, no official file more than {words(LARGEST)}"
    else:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        why = "" if found == wanted else f"its md5 sum is {found}, not {wanted}"
    if why:
        raise UserError(
            f"'{readable(str(path))}' is not the official file of {name} ({why}); "
            "delete it and fetch it again (a changed copy of your own is read as a folder of images, or as Parquet)"
        )
    return path


def check_content(
    name: str, parts: Mapping[str, tuple[np.ndarray, np.ndarray]], shape: tuple[int, int, int], classes: int
) -> None:
    """Refuse what a reader made of files, if it is not what the data set is.

    Args:
        name: The data set.
        parts: Images and labels of each part.
        shape: Of an image, (C, H, W).
        classes: Their number.

    Raises:
        UserError: There are no images, they are of another shape or type, or have labels other than 0..classes - 1.
    """
    for part, (images, labels) in parts.items():
        if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            raise UserError(
                f"the {part} files of '{name}' hold {images.dtype} of shape {images.shape}, its images are uint8 of "
                f"shape {shape}; fetch the official files again"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise UserError(
                f"the {part} files of '{name}' hold {len(images)} images and labels of shape {labels.shape} "
                f"({labels.dtype}); fetch the official files again"
            )
        if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise UserError(
                f"labels in the files of '{name}' go from {int(labels.min())} to {int(labels.max())}, its {classes} "
                "classes from 0; fetch the official files again"
            )
