"""The public data sets: their files, where those are looked for, how missing ones are fetched."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gendistill.data import readers
from gendistill.data.description import Normalisation
from gendistill.data.official import check_content, verify
from gendistill.data.readers import Arrays
from gendistill.errors import UserError
from gendistill.files import remove_leftovers, temporary_folder
from gendistill.spelling import option

DIGIT_NAMES = tuple("0123456789")
CONNECTION_TIMEOUT = 20.0
INCOMING = "incoming"
"""Seconds to wait for a server that does not answer."""

Content = tuple[Arrays, Arrays, tuple[str, ...]]
"""Train, test, class names."""


@dataclass(frozen=True)
class Source:
    """A public data set.

    Attributes:
        title: Its name in sentences.
        folder: Where its files lie below the root (and below ``root/<name>``).
        files: The files that are needed; a tuple of alternatives is any one complete alternative.
        archive: The official archive that holds them, or None when they come one by one.
        shape: Of an image, (C, H, W).
        normalisation: Mean and std a channel of the training images.
        read: Reads train, test and class names from the folder above ``folder``.
        fetch: Downloads into an empty folder (or unpacks an archive there), laid out as ``read`` expects.
    """

    title: str
    folder: str
    files: tuple[tuple[str, ...], ...]
    archive: str | None
    shape: tuple[int, int, int]
    normalisation: Normalisation
    read: Callable[[Path], Content]
    fetch: Callable[[Path], None]

    def complete(self, base: Path) -> list[Path] | None:
        """Return the files of the first alternative that lies complete below ``base``, else None."""
        for alternative in self.files:
            found = [readers.present(base / self.folder / name) for name in alternative]
            if None not in found:
                return [path for path in found if path is not None]
        return None


def read(name: str, root: Path) -> Content:
    """Read a public data set from its official files; fetch them first if they are not there.

    Files are looked for in ``root`` and in ``root/<name>``. Nothing is written where they already lie: an archive below
    a read-only root is unpacked in a temporary folder.

    Args:
        name: A key of :data:`SOURCES`.
        root: Where data sets are kept.

    Returns:
        Train, test and class names.

    Raises:
        UserError: Files are missing and cannot be fetched, one is not the official one, or is damaged.
    """
    train, test, class_names = _read(name, root)
    check_content(name, {"training": train, "test": test}, SOURCES[name].shape, len(class_names))
    return train, test, class_names


def _read(name: str, root: Path) -> Content:
    source = SOURCES[name]
    bases = (root, root / name)
    for base in bases:
        if source.complete(base):
            return source.read(base)
    with _made(source, root):
        try:
            return _fetch(name, root, bases)
        except OSError as error:  # as when a second process takes the empty root away
            raise _missing(source, root, str(error)) from error


def is_there(name: str, root: Path) -> bool:
    """Return whether the official files of a public data set, or the archive of them, lie where :func:`read` looks."""
    source = SOURCES[name]
    bases = (root, root / name)
    archived = source.archive is not None and any((base / source.archive).is_file() for base in bases)
    return archived or any(source.complete(base) for base in bases)


@contextlib.contextmanager
def _made(source: Source, root: Path) -> Iterator[None]:
    """Make the root where it is missing; take it away again when nothing came into it."""
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _missing(source, root, str(error)) from error
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # it is not empty: files have arrived
                folder.rmdir()


def _fetch(name: str, root: Path, bases: tuple[Path, ...]) -> Content:
    """Download or unpack a data set's files, and read them."""
    source = SOURCES[name]
    archives = [base / source.archive for base in bases if source.archive and (base / source.archive).is_file()]
    writable = os.access(root, os.W_OK)
    if not archives and not writable:
        raise _missing(source, root, "the folder is read-only")
    # Files arrive in a folder of their own and move into place whole, so that neither an interruption nor a second
    # process that does the same leaves half a file.
    if writable:
        remove_leftovers(root, INCOMING)
    with temporary_folder(root / INCOMING) if writable else tempfile.TemporaryDirectory() as scratch:
        incoming = Path(scratch)
        if archives and source.archive:
            verify(name, archives[0])
            (incoming / source.archive).symlink_to(archives[0].resolve())
        try:
            with _quiet_network():
                source.fetch(incoming)
        except (OSError, RuntimeError) as error:
            raise _missing(source, root, str(error) or type(error).__name__) from error
        arrived = source.complete(incoming)
        if arrived is None:
            raise _missing(source, root, "the download was not complete")
        if not writable:
            return source.read(incoming)
        for path in arrived:
            target = root / path.relative_to(incoming)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    return source.read(root)


def _missing(source: Source, root: Path, reason: str) -> UserError:
    choices = " or ".join(", ".join(alternative) for alternative in source.files)
    if source.files is IDX_FILES:
        choices += " (or the same with .gz)"
    reason = " ".join(reason.split())
    archive = f", or the archive {source.archive} into '{root}'" if source.archive else ""
    return UserError(
        f"{source.title} is not there and was not downloaded ({reason}); put the official files {choices} into "
        f"'{root / source.folder}'{archive}, or name another folder with {option('root')} or GENDISTILL_DATA"
    )


@contextlib.contextmanager
def _quiet_network() -> Iterator[None]:
    """Give up on silent servers, and keep progress lines off stdout, which may carry JSON."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECTION_TIMEOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(before)


def _read_idx(name: str, folder: str, class_names: tuple[str, ...], base: Path) -> Content:
    path = base / folder
    return readers.read_idx_pair(path, "train", name), readers.read_idx_pair(path, "t10k", name), class_names


def _read_cifar(name: str, dataset: str, base: Path) -> Content:
    from torchvision import datasets

    return readers.read_cifar(base, getattr(datasets, dataset), name)


def _read_parts(
    reader: Callable[[Path, str], Arrays], folder: str, class_names: tuple[str, ...], base: Path
) -> Content:
    return reader(base / folder, "train"), reader(base / folder, "test"), class_names


def _download(dataset: str, folder: Path, below: str = "", parts: tuple[dict[str, object], ...] = ({},)) -> None:
    from torchvision import datasets

    (folder / below).mkdir(exist_ok=True)
    for options in parts:
        getattr(datasets, dataset)(str(folder / below), download=True, **options)


IDX_FILES = (
    (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ),
)
FASHION_NAMES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
STL10_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")

SOURCES: dict[str, Source] = {
    "mnist": Source(
        "MNIST",
        "MNIST/raw",
        IDX_FILES,
        None,
        (1, 28, 28),
        Normalisation((0.1307,), (0.3081,)),
        partial(_read_idx, "mnist", "MNIST/raw", DIGIT_NAMES),
        partial(_download, "MNIST"),
    ),
    "fashion-mnist": Source(
        "Fashion-MNIST",
        "FashionMNIST/raw",
        IDX_FILES,
        None,
        (1, 28, 28),
        Normalisation((0.2861,), (0.3530,)),
        partial(_read_idx, "fashion-mnist", "FashionMNIST/raw", FASHION_NAMES),
        partial(_download, "FashionMNIST"),
    ),
    "cifar10": Source(
        "CIFAR-10",
        "cifar-10-batches-py",
        ((*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),),
        "cifar-10-python.tar.gz",
        (3, 32, 32),
        Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        partial(_read_cifar, "cifar10", "CIFAR10"),
        partial(_download, "CIFAR10"),
    ),
    "cifar100": Source(
        "CIFAR-100",
        "cifar-100-python",
        (("train", "test", "meta"),),
        "cifar-100-python.tar.gz",
        (3, 32, 32),
        Normalisation((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
        partial(_read_cifar, "cifar100", "CIFAR100"),
        partial(_download, "CIFAR100"),
    ),
    "svhn": Source(
        "SVHN",
        "svhn",
        (("train_32x32.mat", "test_32x32.mat"),),
        None,
        (3, 32, 32),
        Normalisation((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        partial(_read_parts, readers.read_svhn, "svhn", DIGIT_NAMES),
        partial(_download, "SVHN", below="svhn", parts=({"split": "train"}, {"split": "test"})),
    ),
    "usps": Source(
        "USPS",
        "usps",
        (("usps.bz2", "usps.t.bz2"), ("usps.h5",)),
        None,
        (1, 16, 16),
        Normalisation((0.2545,), (0.3846,)),
        partial(_read_parts, readers.read_usps, "usps", DIGIT_NAMES),
        partial(_download, "USPS", below="usps", parts=({"train": True}, {"train": False})),
    ),
    "stl10": Source(
        "STL-10",
        "stl10_binary",
        (("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),),
        "stl10_binary.tar.gz",
        (3, 96, 96),
        Normalisation((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
        partial(_read_parts, readers.read_stl10, "stl10_binary", STL10_NAMES),
        partial(_download, "STL10"),
    ),
}
