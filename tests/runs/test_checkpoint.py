from __future__ import annotations

import math
import os
import pickle
import random
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import same

from gendistill.errors import UserError
from gendistill.runs.checkpoint import load_state, read_state, require_plain, save_state, settle
from gendistill.runs.directory import RunDirectory

CPU = torch.device("cpu")


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path, "run")
    directory.make()
    return directory


def test_nothing_saved_is_no_state(directory: RunDirectory) -> None:
    assert load_state(directory, CPU) is None


def test_a_state_comes_back_as_it_was(directory: RunDirectory) -> None:
    state = {"step": 3, "tensor": torch.randn(2, 3), "nested": {"list": [1, 2.5, None, True, "x"], 4: math.inf}}
    save_state(directory, state)
    loaded = load_state(directory, CPU)
    assert loaded is not None
    same({key: loaded[key] for key in state}, state)


def test_the_last_two_are_kept(directory: RunDirectory) -> None:
    for step in (1, 2, 3):
        save_state(directory, {"step": step})
    assert (load_state(directory, CPU) or {})["step"] == 3
    os.replace(directory.previous_state, directory.state)
    assert (load_state(directory, CPU) or {})["step"] == 2
    assert sorted(path.name for path in directory.path.iterdir()) == ["state.pt"]


def test_killed_between_the_renames_the_previous_state_is_taken(directory: RunDirectory) -> None:
    save_state(directory, {"step": 1})
    os.replace(directory.state, directory.previous_state)
    assert (load_state(directory, CPU) or {})["step"] == 1


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("ran",))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("not a state")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Code()))


def _torch_pickle(path: Path) -> None:
    torch.save({"format": "gendistill-state", "version": 1, "code": Code()}, path)


def _foreign(path: Path) -> None:
    torch.save({"model": torch.zeros(2)}, path)


def _future(path: Path) -> None:
    torch.save({"format": "gendistill-state", "version": 99}, path)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    path.write_bytes(content)


DAMAGES = [_cut, _empty, _text, _pickle, _torch_pickle, _foreign, _flipped]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_file_is_one_sentence_with_a_way_out(
    directory: RunDirectory, damage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory.path)
    save_state(directory, {"step": 0, "tensor": torch.randn(100)})
    damage(directory.state)
    with pytest.raises(UserError) as caught:
        load_state(directory, CPU)
    message = str(caught.value)
    assert "state.previous.pt" in message and str(directory.state) in message and "\n" not in message
    assert not (directory.path / "ran").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_file_gives_way_to_the_one_before(
    directory: RunDirectory, damage: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(directory.path)
    for step in (3, 7):
        save_state(directory, {"step": step, "tensor": torch.randn(100)})
    damage(directory.state)
    content = directory.state.read_bytes()
    assert (load_state(directory, CPU) or {})["step"] == 3
    assert "the state before it, of step 3, is taken" in capsys.readouterr().err
    # Looking changes nothing; the run that goes on puts the damaged file aside and keeps it.
    assert directory.state.read_bytes() == content
    state, said = settle(directory)
    assert state is not None and state["step"] == 3 and said is not None and "state.damaged.pt" in said
    assert directory.damaged_state.read_bytes() == content and not directory.state.exists()
    save_state(directory, {"step": 9})
    assert read_state(directory.previous_state, CPU)["step"] == 3 and read_state(directory.state, CPU)["step"] == 9
    assert settle(directory)[1] is None
    assert not (directory.path / "ran").exists()


def test_the_steps_that_are_lost_are_said(directory: RunDirectory) -> None:
    for step in (30, 40):
        save_state(directory, {"step": step, "tensor": torch.randn(100)})
    content = bytearray(directory.state.read_bytes())
    content[500] ^= 1
    directory.state.write_bytes(content)
    assert "10 steps up to 40 are lost" in str(settle(directory)[1])
    # Of a state that was cut, the log tells.
    save_state(directory, {"step": 42, "tensor": torch.randn(100)})
    directory.log.write_text("started on cpu, 100 steps\nstep 35/100  loss 1\nstep 44/100  loss 1\n")
    _cut(directory.state)
    assert "14 steps up to 44 are lost" in str(settle(directory)[1])


@pytest.mark.parametrize("damage", DAMAGES)
def test_both_damaged_is_one_sentence_and_nothing_is_deleted(directory: RunDirectory, damage: Any) -> None:
    for step in (3, 7):
        save_state(directory, {"step": step, "tensor": torch.randn(100)})
    for path in (directory.state, directory.previous_state):
        damage(path)
    before = {path.name: path.read_bytes() for path in directory.path.iterdir()}
    for look in (settle, lambda directory: load_state(directory, CPU)):
        with pytest.raises(
            UserError, match=r"state\.previous\.pt' beside it is damaged, too; put back a copy"
        ) as caught:
            look(directory)
        assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in directory.path.iterdir()} == before


def test_a_previous_state_alone_that_is_damaged_is_one_sentence(directory: RunDirectory) -> None:
    save_state(directory, {"step": 3})
    os.replace(directory.state, directory.previous_state)
    _cut(directory.previous_state)
    for look in (settle, lambda directory: load_state(directory, CPU)):
        with pytest.raises(
            UserError, match=r"previous\.pt' .*, and there is no 'state\.pt'; delete it and start again"
        ):
            look(directory)
    assert directory.previous_state.exists()


def test_a_later_format_is_refused_and_not_taken_for_damage(directory: RunDirectory) -> None:
    for step in (3, 7):
        save_state(directory, {"step": step})
    _future(directory.state)
    with pytest.raises(UserError, match="has format version 99, this program reads version 1"):
        settle(directory)
    assert directory.state.exists() and directory.previous_state.exists()


def test_every_flipped_bit_and_every_cut_is_found(directory: RunDirectory) -> None:
    save_state(directory, {"step": 7, "tensor": torch.randn(20), "words": ["a", "b"]})
    content = directory.state.read_bytes()
    chosen = random.Random(0)
    places = [*chosen.sample(range(len(content)), 150), *range(len(content) - 150, len(content))]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << chosen.randrange(8)
        directory.state.write_bytes(damaged)
        with pytest.raises(UserError):
            load_state(directory, CPU)
    for length in [*chosen.sample(range(len(content)), 50), *range(len(content) - 120, len(content))]:
        directory.state.write_bytes(content[:length])
        with pytest.raises(UserError):
            load_state(directory, CPU)
    directory.state.write_bytes(content + b"x")
    with pytest.raises(UserError):
        load_state(directory, CPU)
    directory.state.write_bytes(content)
    assert (load_state(directory, CPU) or {})["checked"]


def test_a_state_of_an_earlier_version_is_read_and_torch_reads_ours(directory: RunDirectory) -> None:
    torch.save({"format": "gendistill-state", "version": 1, "step": 5}, directory.state)
    found = load_state(directory, CPU) or {}
    assert found["step"] == 5 and not found["checked"]
    save_state(directory, {"step": 6, "tensor": torch.arange(3)})
    assert torch.load(directory.state, weights_only=True)["tensor"].tolist() == [0, 1, 2]
    with zipfile.ZipFile(directory.state) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"gendistill step 00000000000000000006 sha256 ")
    assert (load_state(directory, CPU, mapped=True) or {})["tensor"].tolist() == [0, 1, 2]


def test_what_cannot_be_opened_is_not_taken_for_damage(directory: RunDirectory) -> None:
    for step in (3, 7):
        save_state(directory, {"step": step})
    directory.state.unlink()
    directory.state.mkdir()
    with pytest.raises(UserError, match="not a regular file"):
        settle(directory)


@pytest.mark.parametrize("value", [deque([1]), object(), {"a": [1, {2: torch.nn.Linear(1, 1)}]}])
def test_what_could_not_be_read_back_is_refused_when_it_is_saved(directory: RunDirectory, value: Any) -> None:
    save_state(directory, {"step": 1})
    with pytest.raises(TypeError, match=r"state\['bad'\]"):
        save_state(directory, {"step": 2, "bad": value})
    assert (load_state(directory, CPU) or {})["step"] == 1


def test_states_of_torch_objects_are_plain() -> None:
    net = torch.nn.Linear(2, 2)
    for optimizer in (torch.optim.Adam(net.parameters()), torch.optim.LBFGS(net.parameters())):
        require_plain(optimizer.state_dict())
    adam = torch.optim.Adam(net.parameters())
    for scheduler in (
        torch.optim.lr_scheduler.OneCycleLR(adam, 0.1, 10),
        torch.optim.lr_scheduler.CosineAnnealingLR(adam, 10),
        torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1.0),
    ):
        require_plain(scheduler.state_dict())
