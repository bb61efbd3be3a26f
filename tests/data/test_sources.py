"""Every public data set, read from files that are made here in the official formats."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from official_files import MAKERS, expect, listing, make_stl10, take_as_official
from torchvision import datasets

from gendistill.data import load, official, sources
from gendistill.data.load import NAMES, default_root
from gendistill.errors import UserError

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize("case", MAKERS)
def test_official_files_are_read_and_nothing_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, name, shape = MAKERS[case]
    make(tmp_path, monkeypatch)
    take_as_official(name, tmp_path, monkeypatch)
    before = listing(tmp_path)
    expect(load(name, root=tmp_path), shape)
    assert listing(tmp_path) == before


def test_a_folder_of_its_own_below_the_root_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_stl10(tmp_path / "stl10", monkeypatch)
    take_as_official("stl10", tmp_path, monkeypatch)
    expect(load("stl10", root=tmp_path), (3, 96, 96))


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["mnist"][0](tmp_path, monkeypatch)
    take_as_official("mnist", tmp_path, monkeypatch)
    monkeypatch.setenv("GENDISTILL_DATA", str(tmp_path))
    expect(load("mnist"), (1, 28, 28))
    monkeypatch.delenv("GENDISTILL_DATA")
    assert default_root() == Path.home() / ".cache" / "gendistill"


def test_download_moves_whole_files_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served, root = tmp_path / "served", tmp_path / "root"
    MAKERS["mnist"][0](served, monkeypatch)
    raw = served / "MNIST" / "raw"
    MAKERS["mnist unpacked"][0](tmp_path / "unpacked", monkeypatch)
    take_as_official("mnist", tmp_path, monkeypatch)
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
    take_as_official("cifar10", tmp_path, monkeypatch)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    # Permissions do not bind an administrator, under whom tests may run, so the answer is given for them.
    monkeypatch.setattr(os, "access", lambda *given: writable)
    expect(load("cifar10", root=root), (3, 32, 32))
    assert (root / datasets.CIFAR10.base_folder).exists() == writable
    assert not [name for name in listing(root) if name.startswith(".incoming")]


@pytest.mark.parametrize("name", sources.SOURCES)
def test_every_source_describes_itself(name: str) -> None:
    source = sources.SOURCES[name]
    assert name in NAMES
    assert len(source.normalisation.mean) in (1, 3)


def published() -> dict[str, dict[str, str]]:
    """The sums that torchvision has, by data set and file."""
    found = {
        name: {file.rpartition("/")[2]: md5 for file, md5 in dataset.resources}
        for name, dataset in (("mnist", datasets.MNIST), ("fashion-mnist", datasets.FashionMNIST))
    }
    for name, cifar in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        files = [*cifar.train_list, *cifar.test_list]
        found[name] = {**dict(files), cifar.meta["filename"]: cifar.meta["md5"], cifar.filename: cifar.tgz_md5}
    for name, digits in (("svhn", datasets.SVHN), ("usps", datasets.USPS)):
        found[name] = {file: md5 for part, (_, file, md5) in digits.split_list.items() if part != "extra"}
    stl10 = datasets.STL10
    files = [pair for pair in (*stl10.train_list, *stl10.test_list) if pair[0] != "unlabeled_X.bin"]
    found["stl10"] = {**dict(files), stl10.filename: stl10.tgz_md5}
    return found


def test_the_sums_are_the_published_ones_and_no_file_is_without() -> None:
    for name, sums in published().items():
        assert official.SUMS[name].items() >= sums.items()
    for name, source in sources.SOURCES.items():
        wanted = {file for alternative in source.files for file in alternative} | {source.archive} - {None}
        assert official.SUMS[name].keys() >= wanted


def test_a_file_far_larger_than_any_official_one_is_not_summed(tmp_path: Path) -> None:
    path = tmp_path / "stl10_binary.tar.gz"
    with path.open("wb") as file:
        file.truncate(10**13)
    with pytest.raises(UserError, match="is not the official file of stl10 .it has 10 TB, no official file more than"):
        official.verify("stl10", path)
