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


def files_below(directory: RunDirectory) -> dict[str, str]:
    paths = (path for path in directory.path.rglob("*") if path.is_file())
    return {path.relative_to(directory.path).as_posix(): path.read_text() for path in paths}


@pytest.fixture
def written(directory: RunDirectory) -> RunDirectory:
    """A directory with each kind of file that a run writes, and two that none writes."""
    directory.samples.mkdir()
    ours = [directory.state, directory.previous_state, directory.teacher, directory.log, directory.results]
    ours += [directory.config, directory.path / "events.out.tfevents.1", directory.samples / "teacher-1.png"]
    for path in [*ours, directory.path / "notes.txt", directory.samples / "mine.jpg"]:
        path.write_text(path.name)
    return directory


def test_discarding_leaves_what_no_run_wrote(written: RunDirectory) -> None:
    written.put_aside()
    assert not written.has_state and not written.config.exists()
    written.discard()
    assert set(files_below(written)) == {"notes.txt", "samples/mine.jpg"}
    written.put_aside()
    written.discard()


def test_what_was_put_aside_comes_back(written: RunDirectory) -> None:
    before = files_below(written)
    written.put_aside()
    written.log.write_text("of the run that was refused")
    written.put_back()
    assert files_below(written) == before and not (written.path / ".earlier").exists()
    written.put_aside()  # and then its process is killed
    RunDirectory(written.path.parent, written.path.name).sweep()
    assert files_below(written) == before


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
