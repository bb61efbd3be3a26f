"""A trainer of a user's own, outside the package, that takes no time."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from gendistill.cli import main
from gendistill.commands import quickstart, side_by_side

SOURCE = '''
import torch
from gendistill.teacher import RealSubset
from trainers.trainer import Trainer

class Picker(Trainer):
    """Picks real images; nothing is learned.

    Args:
        images_per_class: How many of each class.
        bad_step: Step whose loss is NaN; -1 for none.
    """
    def __init__(self, images_per_class: int = 2, bad_step: int = -1, **kwargs):
        super().__init__(**kwargs)
        self.images_per_class, self.bad_step = images_per_class, bad_step
    def build(self):
        self.weight = torch.zeros(1)
    def train_step(self, batch):
        if self.step == self.bad_step:
            return {"loss/total": torch.tensor(float("nan"))}
        self.weight = self.weight + 1
        return {"loss/total": self.weight.mean()}
    def teacher(self):
        from gendistill.seeds import stream
        return RealSubset.random(self.data.train, self.data.description, images_per_class=self.images_per_class,
                                 generator=stream(0, "pick"))
'''
CONFIG = """
trainer: {class_path: users_picker.Picker, init_args: {batch_size: 8}}
data: {name: digits}
run: {name: picked, root: runs, steps: 4, log_every: 2, sample_every: 0, device: cpu, progress: false}
scales:
  smoke: {run: {steps: 2}}
"""
QUICK = ["--updates", "2,4", "--seeds", "2", "--lr", "0.05", "--device", "cpu"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a trainer, ``users_picker.py``, and its config, ``c.yaml``."""
    (tmp_path / "users_picker.py").write_text(SOURCE)
    (tmp_path / "c.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def run_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a command that must succeed and return the one JSON object on its stdout."""

    def run(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(list(words)) == 0
        result = json.loads(capsys.readouterr().out)
        assert isinstance(result, dict)
        return result

    return run


@pytest.fixture
def lanes_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run side by side run here, one lane after another: a process costs seconds before it begins.

    The processes have tests of their own, in ``test_side_by_side.py``.
    """

    def run(lanes: Sequence[side_by_side.Lane]) -> None:
        for lane in reversed(lanes):  # no lane may need another one
            for words in lane.commands:
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    assert main(list(words)) == 0

    for room in (side_by_side, quickstart):
        monkeypatch.setattr(room, "run_side_by_side", run)
