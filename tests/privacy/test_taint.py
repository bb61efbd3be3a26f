"""The strongest test: with a mechanism that ignores the records, no byte of any output may depend on them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from private_runs import MATCHING, METHODS, Blind, gan, matching, run

from gendistill import teacher as teachers
from gendistill.data.real import RealData, Split
from gendistill.evaluation.evaluate import evaluate
from gendistill.report.page import write_report
from gendistill.teacher.export import export
from trainers.private import PrivateTrainer
from trainers.private_matching import PrivateDistributionMatchingTrainer


def one_removed(split: Split) -> Split:
    return Split(split.images[1:], split.labels[1:])


def one_white(split: Split) -> Split:
    images = split.images.clone()
    images[0] = 255
    return Split(images, split.labels)


def one_class_emptied(split: Split) -> Split:
    kept = split.labels != 1
    return Split(split.images[kept], split.labels[kept])


def everything_black(split: Split) -> Split:
    return Split(torch.zeros_like(split.images), split.labels)


EVENTS = re.compile(r"events\.out\..*")
"""Their names hold the time and the process."""
NEIGHBOURS = [one_removed, one_white, one_class_emptied, everything_black]
MADE: dict[str, Callable[[], PrivateTrainer]] = METHODS | {
    "matching, formation": lambda: matching(decode={"factor": 2}),
    "gan, penalty": lambda: gan(gradient_penalty=1.0, loss_type="wasserstein"),
}


class Clock:
    """A clock that goes a thousandth a look, so that runs that do the same take as long."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


def outputs(
    make: Callable[[], PrivateTrainer], data: RealData, root: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    """Return the bytes of everything that a run, an evaluation, a report and an export leave, by name."""
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(time, "time", lambda: 1e9)  # the writer of events looks at it from a thread of its own
    monkeypatch.setattr(time, "perf_counter", Clock())
    monkeypatch.setattr(time, "process_time", Clock())
    torch.manual_seed(0)
    trainer = make()
    trainer.new_sums = Blind  # type: ignore[method-assign]
    run(trainer, data, Path("."), "run")
    teacher = teachers.load(Path("run/teacher.safetensors"))
    learning = {"updates": [5], "seeds": 1, "batch_size": 4, "device": "cpu"}
    result = evaluate(teacher, data, path="run", name="run", learning=learning, fidelity=None)
    Path("results.json").write_text(json.dumps(result, sort_keys=True))
    images = teacher.sample(6, torch.Generator().manual_seed(0))[0]
    write_report({"teachers": [result]}, "report.html", {"run": teacher.description.normalisation.invert(images)})
    if teacher.images_stored is not None:
        export(teacher, Path("export"))
    return {EVENTS.sub("events", str(path)): path.read_bytes() for path in Path(".").rglob("*") if path.is_file()}


@pytest.mark.parametrize("method", MADE)
def test_no_byte_depends_on_the_records(
    tiny_data: RealData, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outputs(MADE[method], tiny_data, tmp_path / "first", monkeypatch)
    assert {"run/teacher.safetensors", "run/state.pt", "run/log.txt", "run/events", "report.html"} <= first.keys()
    for change in NEIGHBOURS:
        parts = {name: change(getattr(tiny_data, name)) for name in ("train", "validation")}
        changed = replace(tiny_data, notes=(f"{change.__name__} was read",), **parts)
        other = outputs(MADE[method], changed, tmp_path / change.__name__, monkeypatch)
        differing = sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
        assert not differing, f"{change.__name__} is seen in {', '.join(differing)}"


def test_the_test_can_fail(tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer that lets one number of its records out is found."""

    class Leaky(PrivateDistributionMatchingTrainer):
        def known_of(self, data: RealData) -> RealData:
            self.mean = float(data.train.images.float().mean())
            return super().known_of(data)

        def promised(self) -> dict[str, Any]:
            return super().promised() | {"mean": self.mean}

    found = []
    for name, data in (("first", tiny_data), ("second", replace(tiny_data, train=one_white(tiny_data.train)))):
        found.append(outputs(lambda: Leaky(**MATCHING), data, tmp_path / name, monkeypatch))
    assert found[0]["run/teacher.safetensors"] != found[1]["run/teacher.safetensors"]
    assert found[0]["run/config.yaml"] == found[1]["run/config.yaml"]
