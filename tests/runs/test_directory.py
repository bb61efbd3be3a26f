from __future__ import annotations

from pathlib import Path

import pytest

from gendistill.errors import UserError
from gendistill.runs.directory import RunDirectory


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path, "study/run")
    directory.make()
    return directory


def test_discarding_leaves_what_no_run_wrote(directory: RunDirectory) -> None:
    directory.samples.mkdir()
    ours = [directory.state, directory.previous_state, directory.teacher, directory.log, directory.results]
    ours += [directory.config, directory.path / "events.out.tfevents.1", directory.samples / "teacher-1.png"]
    for path in [*ours, directory.path / "notes.txt", directory.samples / "mine.jpg"]:
        path.write_text("")
    directory.discard()
    left = {path.name for path in directory.path.rglob("*") if path.is_file()}
    assert left == {"notes.txt", "mine.jpg"}
    directory.discard()


def test_sweeping_removes_half_written_files(directory: RunDirectory) -> None:
    directory.samples.mkdir()
    for name in (".state.incoming.pt", "..state.incoming.pt.0123456789ab.tmp", ".teacher.safetensors.0123456789ab.tmp"):
        (directory.path / name).write_text("")
    (directory.samples / ".teacher-1.png.0123456789ab.tmp").write_text("")
    directory.state.write_text("")
    directory.sweep()
    assert [path.name for path in directory.path.rglob("*") if path.is_file()] == ["state.pt"]


def test_a_configuration_comes_back(directory: RunDirectory) -> None:
    assert directory.read_config() is None
    config = {
        "run": {"name": "Prüfung", "steps": 3, "text": ["1e5", "2e-3", "5", "no", "~"]},
        "trainer": {"lr": 1e-5, "betas": [0.0, 0.9], "none": None},
    }
    directory.write_config(config)
    assert directory.read_config() == config


@pytest.mark.parametrize("content", ["{", "- 1\n- 2\n", "\x00"])
def test_a_damaged_configuration_is_said(directory: RunDirectory, content: str) -> None:
    directory.config.write_text(content)
    with pytest.raises(UserError, match="config.yaml.*restore it, or start with run.fresh true"):
        directory.read_config()


def test_a_directory_belongs_to_one_process(directory: RunDirectory) -> None:
    other = RunDirectory(directory.path.parent, "run")
    directory.lock()
    with pytest.raises(UserError, match="another process is training in"):
        other.lock()
    directory.unlock()
    other.lock()
    other.unlock()
