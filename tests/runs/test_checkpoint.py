from __future__ import annotations

import math
import os
import pickle
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import same

from gendistill.errors import UserError
from gendistill.runs.checkpoint import load_state, require_plain, save_state
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


@pytest.mark.parametrize("damage", [_cut, _empty, _text, _pickle, _torch_pickle, _foreign, _future, _flipped])
@pytest.mark.parametrize("saves", [1, 2])
def test_a_bad_file_is_one_sentence_with_a_way_out(
    directory: RunDirectory, damage: Any, saves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory.path)
    for step in range(saves):
        save_state(directory, {"step": step, "tensor": torch.randn(100)})
    damage(directory.state)
    with pytest.raises(UserError) as caught:
        load_state(directory, CPU)
    message = str(caught.value)
    assert "state.previous.pt" in message and str(directory.state) in message and "\n" not in message
    assert ("rename" in message) == (saves == 2)
    assert not (directory.path / "ran").exists()


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
