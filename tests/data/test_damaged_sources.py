"""Files of public data sets that are missing, damaged or unsafe, and names that nobody knows: one sentence each."""

from __future__ import annotations

import bz2
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official_files import MAKERS, idx, make_usps_h5, take_as_official
from torchvision import datasets

from gendistill.data import load, sources
from gendistill.errors import UserError

pytestmark = pytest.mark.usefixtures("no_network")


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


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_changed_batch_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["cifar10"][0](tmp_path, monkeypatch)
    take_as_official("cifar10", tmp_path, monkeypatch)
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
        (
            "usps bz2",
            damage("usps/usps.t.bz2", lambda b: bz2.compress(b"1 1:200 256:3\n2 5:0 256:1\n")),
            r"LIBSVM's USPS file \(values go from 0.5 to 100",
        ),
        (
            "mnist unpacked",
            damage("MNIST/raw/train-labels-idx1-ubyte", lambda b: idx(np.arange(40))),
            "labels in the files of 'mnist' go from 0 to 39, its 10 classes from 0",
        ),
        ("stl10", damage("stl10_binary/test_X.bin", lambda b: b[:-1]), "does not hold 20 images"),
    ],
)
def test_damaged_files(
    case: str, spoil: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, name, _ = MAKERS[case]
    make(tmp_path, monkeypatch)
    take_as_official(name, tmp_path, monkeypatch)
    spoil(tmp_path)
    with pytest.raises(UserError, match="' is not the official file of"):
        load(name, root=tmp_path)
    # And were its sum the official one, it would still be looked at.
    take_as_official(name, tmp_path, monkeypatch)
    with pytest.raises(UserError, match=said) as refused:
        load(name, root=tmp_path)
    assert "\n" not in str(refused.value)


def test_usps_h5_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    make_usps_h5(tmp_path, monkeypatch)
    take_as_official("usps", tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="pip install h5py"):
        load("usps", root=tmp_path)


def test_unknown_names_and_options() -> None:
    with pytest.raises(UserError, match="did you mean 'cifar100'"):
        load("CIFAR-100000")
    with pytest.raises(UserError, match="leave them out"):
        load("digits", image_size=16)
