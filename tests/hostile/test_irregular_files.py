"""Pipes, devices, sockets, folders and links to nothing are refused where a file is read; no reader waits for them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from valid_files import READERS

from gendistill import torch_file
from gendistill.cli import main
from gendistill.data import readers
from gendistill.data.folder import load_folder
from gendistill.data.text_files import read_corpora
from gendistill.errors import UserError
from gendistill.evaluation.inception import find_weights
from gendistill.regular import regular
from gendistill.teacher import open_teacher
from gendistill.teacher.imports import import_teacher
from gendistill.yaml_file import read_yaml

SECONDS = 20


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Opening a pipe that nobody writes to never ends; here it fails."""

    def stop(*_: object) -> None:
        raise AssertionError("a reader waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def local_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # their names are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pipe": (pipe, "is a pipe"),
    "socket": (local_socket, "is a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    "link to itself": (lambda path: path.symlink_to(path.name), "is a link to nothing"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_named(kind: str, tmp_path: Path) -> None:
    make, said = KINDS[kind]
    make(tmp_path / "x")
    with pytest.raises(UserError, match=said) as refused:
        regular(tmp_path / "x")
    assert str(tmp_path / "x") in str(refused.value)
    with pytest.raises(UserError, match=said):
        torch_file.load(tmp_path / "x")
    (tmp_path / "link").symlink_to("x")
    with pytest.raises(UserError):
        regular(tmp_path / "link")


def test_files_links_to_files_and_nothing_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link", "nothing"):
        assert regular(tmp_path / name) == tmp_path / name


@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_pipe(name: str, tmp_path: Path) -> None:
    path = READERS[name].make(tmp_path)
    path.unlink()
    os.mkfifo(path)
    if name.startswith("Tiny-ImageNet"):
        READERS[name].read(path)  # its file is not there, and the folders say as much
        return
    with pytest.raises(UserError) as refused:
        READERS[name].read(path)
    assert "\n" not in str(refused.value)


READ: dict[str, Callable[[Path], Any]] = {
    "config": read_yaml,
    "teacher": open_teacher,
    "weights of Inception": find_weights,
    "table of texts": read_corpora,
    "file or folder of pictures": load_folder,
    "IDX file": readers.read_idx,
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_a_path_of_a_person_is_looked_at_first(kind: str, name: str, tmp_path: Path) -> None:
    KINDS[kind][0](tmp_path / "x.csv")
    with pytest.raises(UserError):
        READ[name](tmp_path / "x.csv")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--config", "FILE"],
        ["evaluate", "FILE"],
        ["compare", "FILE", "real:subset=10"],
        ["nas", "real:subset=10", "--config", "FILE"],
        ["verify", "FILE", "--dataset", "digits"],
        ["poison", "FILE"],
        ["import", "FILE", "--dataset", "digits", "--output", "OUT"],
        ["export", "FILE", "--output", "OUT"],
        ["tokens", "FILE"],
        ["report", "FILE", "--output", "OUT"],
    ],
    ids=" ".join,
)
def test_commands_say_so(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    given = [word.replace("FILE", str(tmp_path / "pipe")).replace("OUT", str(tmp_path / "out")) for word in words]
    assert main(given) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and str(tmp_path / "pipe") in said


@pytest.mark.parametrize(
    "name", ["texts, csv", "texts, jsonl", "YAML", "word vectors", "IDX", "picture table, csv", "MHIST"]
)
def test_a_file_with_a_hole_of_ten_terabytes_is_refused(name: str, tmp_path: Path) -> None:
    path = READERS[name].make(tmp_path)
    try:
        os.truncate(path, 10**13)
    except OSError:
        pytest.skip("this disk has no files with holes")
    with pytest.raises(UserError):
        READERS[name].read(path)


def test_an_import_of_a_folder_does_not_wait_for_what_lies_beside(tmp_path: Path) -> None:
    path = READERS["export: tensors"].make(tmp_path)
    os.mkfifo(path.parent / "lr.pt")
    from valid_files import data

    import_teacher(path.parent, data())
