from __future__ import annotations

import os
import resource
import signal
import stat
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from gendistill import files
from gendistill.errors import StorageError
from gendistill.files import atomic_write


def test_a_file_is_replaced_and_its_directory_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    atomic_write(path, lambda file: file.write(b"one"))
    atomic_write(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic_write(tmp_path / "ours", lambda file: file.write(b""))
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_reader_never_sees_half(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    atomic_write(path, write)
    assert path.read_bytes() == b"new"


def test_a_failing_writer_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        atomic_write(path, write)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_no_room_for_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match="file too large") as caught:
            atomic_write(path, lambda file: file.write(bytes(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.exit_code == 1 and str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_device_is_said_in_a_sentence() -> None:
    with pytest.raises(StorageError, match="no space left on device"):
        atomic_write("/dev/full", lambda file: file.write(bytes(100_000)))
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a directory"):
        atomic_write(tmp_path, lambda file: file.write(b""))


def test_a_link_keeps_pointing(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "place" / "file")
    atomic_write(tmp_path / "link", lambda file: file.write(b"content"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "place" / "file").read_bytes() == b"content"


def test_a_pipe_is_written_to_when_somebody_reads_it_and_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    late = threading.Timer(0.2, lambda: read.append(pipe.read_bytes()))
    late.start()
    atomic_write(pipe, lambda file: file.write(b"x" * 200_000))  # more than a pipe holds
    late.join()
    assert read == [b"x" * 200_000]
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    with pytest.raises(StorageError, match="nobody has read from for 0.1 seconds"):
        atomic_write(pipe, lambda file: file.write(b"two"))
