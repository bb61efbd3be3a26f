"""A run, a search and kept evaluations go on only with the data that they were begun with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SmallTrainer, bands, start, state_of

from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import load


def go(data: RealData, root: Path, trainer: SmallTrainer | None = None, **more: Any) -> None:
    options: dict[str, Any] = {"steps": 6, "save_every": 3, "sample_every": 0, "progress": False, "device": "cpu"}
    train(trainer or SmallTrainer(batch_size=12), data, RunOptions(root=str(root), name="run", **options | more))


def without(split: Split, count: int) -> Split:
    return Split(split.images[count:], split.labels[count:])


CHANGES = {
    "test images (as many, 60, with another content)": lambda data: data.test.images[3].add_(1) is None or data,
    "test images (60 then, 59 now)": lambda data: replace(data, test=without(data.test, 1)),
    "training images (96 then, 95 now)": lambda data: replace(data, train=without(data.train, 1)),
    "validation images (30 then, 29 now)": lambda data: replace(data, validation=without(data.validation, 1)),
    "classes (top, middle, bottom then, a, b, c now)": lambda data: replace(
        data, description=replace(data.description, class_names=("a", "b", "c"))
    ),
}


@pytest.mark.parametrize("words", CHANGES)
@pytest.mark.parametrize("finished", [False, True])
def test_a_run_does_not_go_on_with_data_that_changed(words: str, finished: bool, tmp_path: Path) -> None:
    go(bands(), tmp_path, steps=6 if finished else 4)
    before = (tmp_path / "run" / "state.pt").read_bytes()
    data = bands()
    changed = CHANGES[words](data)
    with pytest.raises(UserError) as caught:
        go(changed if isinstance(changed, RealData) else data, tmp_path)
    assert str(caught.value) == (
        f"'{tmp_path / 'run'}' holds a run on data that changed since: {words}; choose another run.name, or set "
        "run.fresh to true to discard that run"
    )
    assert (tmp_path / "run" / "state.pt").read_bytes() == before
    go(bands(), tmp_path)
    go(changed if isinstance(changed, RealData) else data, tmp_path, fresh=True)


def test_nothing_is_built_from_data_that_changed(tmp_path: Path) -> None:
    go(bands(), tmp_path, steps=4)

    class Never(SmallTrainer):
        def build(self) -> None:
            raise AssertionError("experts would be trained here")

    with pytest.raises(UserError, match="changed since"):
        go(replace(bands(), test=without(bands().test, 1)), tmp_path, Never(batch_size=12))


def test_a_state_of_an_earlier_version_goes_on_with_a_note(tmp_path: Path) -> None:
    start(tmp_path, "old", steps=4)
    path = tmp_path / "old" / "state.pt"
    state = torch.load(path, weights_only=True)
    assert state["data"]["train"]["images"] == 96
    for key in ("data", "other_data"):
        del state[key]
    torch.save(state, path)
    start(tmp_path, "old")
    assert "the saved state does not say what its data held" in (tmp_path / "old" / "log.txt").read_text()
    assert state_of(tmp_path, "old")["data"]["train"]["images"] == 96


def test_another_data_set_that_a_run_uses_is_asked_after_too(tmp_path: Path) -> None:
    class Two(SmallTrainer):
        source = 5

        def build(self) -> None:
            super().build()
            from gendistill.data.fingerprint import contents

            self.other_data["source"] = contents(replace(bands(), test=without(bands().test, self.source)))

    go(bands(), tmp_path, Two(batch_size=12), steps=4)
    go(bands(), tmp_path, Two(batch_size=12), steps=5)
    changed = Two(batch_size=12)
    changed.source = 6
    with pytest.raises(UserError, match=r"uses 'source', on data that changed since: test images \(55 then, 54 now\)"):
        go(bands(), tmp_path, changed)


def test_a_teacher_says_what_it_was_made_from(tmp_path: Path) -> None:
    go(bands(), tmp_path)
    noted = load(tmp_path / "run" / "teacher.safetensors").metadata["data"]
    assert {part: one["images"] for part, one in noted.items()} == {"train": 96, "validation": 30, "test": 60}


def test_a_state_with_nan_is_refused(tmp_path: Path) -> None:
    start(tmp_path, "run", steps=4)
    path = tmp_path / "run" / "state.pt"
    state = torch.load(path, weights_only=True)
    state["trainer"]["net"]["1.weight"][0, 0] = torch.nan
    torch.save(state, path)
    with pytest.raises(UserError, match=r"NaN or infinite in 'net.1.weight'; put back the state before it"):
        start(tmp_path, "run")
