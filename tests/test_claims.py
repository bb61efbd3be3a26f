"""One process at a time in a folder; what a killed one left is taken away, what a living one writes is not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gendistill.claims import Claim, claimed
from gendistill.errors import PlaceError, UserError
from gendistill.files import atomic_write, new_folder, remove_leftovers, require_place

WRITING = """
import sys, time
from pathlib import Path
from gendistill.claims import claimed
from gendistill.files import atomic_write, new_folder
place = Path(sys.argv[1])
def slow(file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(3600)
with claimed(place, "working", "choose another"), new_folder(place / "export") as folder:
    (folder / "images").write_bytes(b"half")
    atomic_write(place / "results.json", slow)
"""


@contextlib.contextmanager
def another_process(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed a place and is writing a file and a folder there."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(place)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.kill()
        process.wait()


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_living_process_keeps_others_out_and_what_it_writes_is_left_alone(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        there = names(tmp_path)
        assert len([name for name in there if name.endswith(".tmp")]) == 2
        with pytest.raises(UserError, match="another process is searching in '.*'; wait for it to end or choose a"):
            Claim(tmp_path, "searching", "choose another --output").take()
        remove_leftovers(tmp_path)
        atomic_write(tmp_path / "other.json", lambda file: file.write(b"whole"))
        assert names(tmp_path) == sorted([*there, "other.json"])
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(names(tmp_path)) == len(there) + 1
        with claimed(tmp_path, "searching", "choose another --output"):
            assert names(tmp_path) == [".lock", "other.json"]
        assert names(tmp_path) == ["other.json"]


def test_what_a_killed_writer_of_the_same_file_left_goes_with_the_next_write(tmp_path: Path) -> None:
    with another_process(tmp_path):
        pass
    atomic_write(tmp_path / "results.json", lambda file: file.write(b"whole"))
    assert [name for name in names(tmp_path) if name.endswith(".tmp")] == [
        name for name in names(tmp_path) if name.startswith(".export.")
    ]
    with new_folder(tmp_path / "export") as folder:
        (folder / "images").write_bytes(b"whole")
    assert names(tmp_path) == [".lock", "export", "results.json"]


@pytest.mark.parametrize(
    "name",
    [
        "notes.tmp",
        ".notes.tmp",
        ".notes.ab12.tmp",
        ".notes.0123456789AB.tmp",
        "notes.0123456789ab.tmp",
        ".0123456789ab.tmp",
        ".notes.0123456789ab.tmp.old",
    ],
)
def test_files_of_a_person_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / ".notes.0123456789ab.tmp").symlink_to(tmp_path / name)
    remove_leftovers(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_writers_and_those_who_clean_up_do_not_disturb_each_other(tmp_path: Path) -> None:
    """A temporary file that is taken away before it is locked is made again, and nobody notices."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom gendistill.files import atomic_write, remove_leftovers\n"
        "place = Path(sys.argv[1])\n"
        "for number in range(150):\n"
        "    remove_leftovers(place)\n"
        "    atomic_write(place / sys.argv[2], lambda file: file.write(b'%06d' % number))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name], env=environment) for name in "abb"
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert names(tmp_path) == ["a", "b"] and (tmp_path / "a").read_text() == "000149"


def test_the_claim_ends_when_it_is_given_up(tmp_path: Path) -> None:
    first, second = (Claim(tmp_path / "new", "searching", "choose another") for _ in range(2))
    first.take()
    with pytest.raises(UserError, match="another process"):
        second.take()
    first.release()
    second.take()
    second.release()
    assert not (tmp_path / "new").exists()  # made for the claim, and nothing came into it
    with claimed(tmp_path / "a" / "b", "searching", "choose another"):
        (tmp_path / "a" / "kept").touch()
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["kept"]


def test_of_many_that_claim_a_folder_again_and_again_one_has_it_at_a_time(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom gendistill.claims import claimed\n"
        "from gendistill.errors import UserError\nplace, had = Path(sys.argv[1]), 0\n"
        "while had < 150:\n"
        "    try:\n"
        "        with claimed(place, 'working', 'choose another'):\n"
        "            os.close(os.open(place / 'mine', os.O_CREAT | os.O_EXCL))\n"
        "            os.unlink(place / 'mine')\n"
        "            had += 1\n"
        "    except UserError as error:\n"
        "        assert 'another process' in str(error), error\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environment) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert names(tmp_path) == []


PLACES = {
    "a file in the way": lambda root: root / "file" / "out",
    "a name too long": lambda root: root / ("x" * 300),
    "a way too long": lambda root: root.joinpath(*["x" * 200] * 30),
    "a character that no name has": lambda root: root / "a\0b",
    "no such device": lambda root: Path("/proc/none"),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_place_that_cannot_be_written_is_one_sentence_before_any_work(case: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = PLACES[case](tmp_path)
    for look in (
        lambda: require_place(place),
        lambda: require_place(place, folder=True),
        lambda: Claim(place, "searching", "choose another").take(),
    ):
        with pytest.raises(PlaceError) as caught:
            look()
        assert caught.value.exit_code == 2 and "choose another place" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PlaceError, match="is a directory"):
        require_place(tmp_path)
    with pytest.raises(PlaceError, match="not a directory"):
        require_place(tmp_path / "file", folder=True)
    require_place(tmp_path / "file")
    require_place(tmp_path / "new" / "deep" / "file")
    require_place(tmp_path / "new" / "folder", folder=True)
    require_place("/dev/null")
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.getuid() == 0, reason="everything may be written by root")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PlaceError, match="permission denied"):
            require_place(tmp_path / "file")
        with pytest.raises(PlaceError, match="permission denied"):
            Claim(tmp_path, "searching", "choose another").take()
    finally:
        tmp_path.chmod(0o700)


def test_a_pipe_in_the_place_of_the_lock_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(PlaceError, match="could not be written"):
        Claim(tmp_path, "searching", "choose another").take()
