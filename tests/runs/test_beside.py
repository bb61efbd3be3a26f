"""What is done beside a run: callbacks, loggers and the best step, of which training does not notice anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SmallTrainer, bands, same, start, state_of

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.best import KeepBest
from gendistill.runs.callbacks import AtEnd, Callback, Every, Now, OnSave
from gendistill.runs.events import read_scalars
from gendistill.runs.loggers import Logger
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import Teacher, load

SEEN: list[RealData] = []


def away_from_grey(teacher: Teacher, data: RealData) -> float:
    """A metric that falls and rises: how far the mean of the images is from 0.53."""
    SEEN.append(data)
    return abs(float(teacher.everything()[0].mean()) - 0.53)


KEEP = {"metric": f"{__name__}.away_from_grey", "every": 2}


def run(root: Path, name: str, data: RealData | None = None, **more: Any) -> Any:
    torch.set_num_threads(1)
    beside = {key: more.pop(key) for key in ("callbacks", "loggers") if key in more}
    chosen = {"steps": 12, "save_every": 4, "log_every": 5, "sample_every": 0, "progress": False, **more}
    options = RunOptions(root=str(root), name=name, device="cpu", **chosen)
    return train(SmallTrainer(batch_size=12), data or bands(), options, **beside)


class Careless(Callback):
    """Hears of everything, and disturbs all that it can."""

    every = 3

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def on_start(self, now: Now) -> None:
        self.heard.append(("start", now.step))

    def on_step(self, now: Now) -> None:
        self.heard.append(("step", now.step))
        assert not now.trainer.net.training and now.steps >= now.step and len(now.data.train) == 96
        now.trainer.net.train()
        now.trainer.net(torch.randn(6, 64, generator=now.context.streams["noise"]) + torch.randn(6, 64))
        assert now.teacher().images_stored == 6

    def on_save(self, now: Now) -> None:
        self.heard.append(("save", now.step))
        assert int(torch.load(now.directory / "state.pt", weights_only=True)["step"]) == now.step

    def on_end(self, now: Now) -> None:
        self.heard.append(("end", now.step))


def test_callbacks_hear_of_steps_saves_and_the_end_and_change_nothing(tmp_path: Path) -> None:
    start(tmp_path, "alone")
    one = Careless()
    run(tmp_path, "beside", callbacks=[one], keep_best=KEEP)
    steps = [("step", step) for step in (3, 6, 9, 12)]
    assert [heard for heard in one.heard if heard[0] == "step"] == steps
    assert one.heard[0] == ("start", 0) and one.heard[-1] == ("end", 12)
    assert {("save", step) for step in (4, 8, 12)} <= set(one.heard)
    there = state_of(tmp_path, "beside")
    assert there.pop("kept_best")["metric"] == KEEP["metric"]
    same(there, state_of(tmp_path, "alone"))


def test_functions_are_called_when_they_are_asked_for(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    run(
        tmp_path, "run", callbacks=[
            Every(5, lambda now: told.append(("every", now.step))), OnSave(lambda now: told.append(("save", now.step))),
            AtEnd(lambda now: told.append(("end", now.step))),
        ],
    )  # fmt: skip
    assert told == [("save", 4), ("every", 5), ("save", 8), ("every", 10), ("save", 12), ("end", 12)]


def test_a_callback_ends_a_run_which_then_goes_on_to_the_bit(tmp_path: Path) -> None:
    start(tmp_path, "whole")
    context = run(tmp_path, "ended", callbacks=[Every(7, lambda now: now.stop("enough"))])
    assert context.step == 7 and "ended after step 7 of 12: enough" in (tmp_path / "ended" / "log.txt").read_text()
    start(tmp_path, "ended")
    same(state_of(tmp_path, "ended"), state_of(tmp_path, "whole"))


class Memory(Logger):
    """Keeps what it is told; steps that are lost are told again."""

    told: list[tuple[Any, ...]]

    def begin(self, directory: Path, config: Any, step: int | None) -> None:
        self.told = [("begin", directory.name, step, config["run"]["steps"])]

    def log_scalars(self, step: int, values: Any) -> None:
        self.told.append(("scalars", step, dict(values)))

    def log_images(self, step: int, images: Any) -> None:
        self.told.append(("images", step, sorted(images)))

    def flush(self) -> None:
        self.told.append(("flush",))

    def close(self) -> None:
        self.told.append(("close",))


def test_a_logger_is_told_what_tensorboard_is_told(tmp_path: Path) -> None:
    logger = Memory()
    run(tmp_path, "run", loggers=[logger], sample_every=6, keep_best=KEEP)
    assert logger.told[0] == ("begin", "run", None, 12) and logger.told[-1] == ("close",)
    assert [entry[1] for entry in logger.told if entry[0] == "images"] == [6, 12]
    written = read_scalars(tmp_path / "run")
    assert [step for step, _ in written["validation/away_from_grey"]] == [2, 4, 6, 8, 10, 12]
    for tag, points in written.items():
        told = [(entry[1], entry[2][tag]) for entry in logger.told if entry[0] == "scalars" and tag in entry[2]]
        assert points == [(step, pytest.approx(value, rel=1e-6)) for step, value in told], tag
    run(tmp_path, "run", loggers=[again := Memory()], steps=14)
    assert again.told[0] == ("begin", "run", 12, 14)


def test_callbacks_and_loggers_are_named_in_a_config(tmp_path: Path) -> None:
    named = [f"{__name__}.Careless", {"class_path": f"{__name__}.Careless", "init_args": {}}]
    run(tmp_path, "named", steps=3, callbacks=named)
    for given, said in (
        (["small_run.bands"], "is not a subclass of gendistill.runs.callbacks.Callback"),
        ([5], "run.callbacks holds 5; give a subclass of"),
    ):
        with pytest.raises(UserError, match=said):
            run(tmp_path, "refused", callbacks=given)


def test_the_best_step_is_kept_with_the_state_that_made_it(tmp_path: Path) -> None:
    run(tmp_path, "run", keep_best=KEEP)
    curve = dict(read_scalars(tmp_path / "run")["validation/away_from_grey"])
    step = max(curve, key=lambda one: curve[one])
    assert 2 <= step < 12 or len(set(curve.values())) > 1
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert best["step"] == best["kept_best"]["step"] == step and best["kept_best"]["value"] == pytest.approx(
        curve[step]
    )
    kept = load(tmp_path / "run" / "best.safetensors")
    assert abs(float(kept.everything()[0].mean()) - 0.53) == pytest.approx(curve[step], rel=1e-5)
    # A run of so many steps has the same state.
    run(tmp_path, "short", steps=step, keep_best=KEEP)
    short = state_of(tmp_path, "short")
    assert best.pop("seconds") > 0
    same({key: best[key] for key in ("trainer", "streams", "global")}, {key: short[key] for key in
         ("trainer", "streams", "global")})  # fmt: skip


def test_a_run_in_parts_keeps_the_same_best_step(tmp_path: Path) -> None:
    lower = KEEP | {"higher": False}
    run(tmp_path, "whole", keep_best=lower)
    for steps in (3, 7, 12):
        run(tmp_path, "parts", steps=steps, keep_best=lower)
    whole, parts = (torch.load(tmp_path / name / "best.pt", weights_only=True) for name in ("whole", "parts"))
    if whole["step"] not in (3, 7):  # a part's last step is looked at, too
        assert whole["kept_best"]["value"] >= parts["kept_best"]["value"]
    assert state_of(tmp_path, "parts")["kept_best"] == parts["kept_best"]


def test_killed_before_the_best_was_kept_it_is_kept_when_the_run_goes_on(tmp_path: Path) -> None:
    run(tmp_path, "run", steps=2, keep_best=KEEP)
    (tmp_path / "run" / "best.pt").unlink()
    (tmp_path / "run" / "best.safetensors").unlink()
    run(tmp_path, "run", steps=3, keep_best=KEEP | {"every": 100, "higher": True})
    assert int(torch.load(tmp_path / "run" / "best.pt", weights_only=True)["step"]) >= 2


def test_the_test_split_has_no_say(tmp_path: Path) -> None:
    data = bands()
    SEEN.clear()
    run(tmp_path, "own", data, keep_best=KEEP, steps=4)
    assert all(one.test is one.validation for one in SEEN) and SEEN
    keep = {"every": 2, "learning": {"updates": [5], "seeds": 1, "lr": 0.05}}
    other = replace(data, test=replace(data.test, labels=data.test.labels.roll(1)))
    for name, given in (("one", data), ("other", other)):
        run(tmp_path, name, given, keep_best=keep, steps=4)
    found = [read_scalars(tmp_path / name)["validation/accuracy"] for name in ("one", "other")]
    assert found[0] == found[1] and all(0 <= value <= 1 for _, value in found[0])
    for metric in ("balanced", "distance"):
        run(tmp_path, metric, data, keep_best=keep | {"metric": metric}, steps=2)
        assert read_scalars(tmp_path / metric)[f"validation/{metric}"][0][0] == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": "acuracy"}, "run.keep_best.metric is 'acuracy'; did you mean 'accuracy'"),
        ({"metrik": "accuracy"}, "run.keep_best has no option 'metrik'; did you mean 'metric'"),
        ({"every": 0}, "run.keep_best.every is 0; give a whole number from 1"),
        ({"every": "often"}, "run.keep_best.every is 'often'; give a whole number or null"),
        ({"learning": {"split": "test"}}, "run.keep_best.learning.split cannot be chosen: validation images judge"),
        ({"learning": {"update": [5]}}, "learning has no option 'update'"),
        ({"metric": "gendistill.nowhere"}, "module 'gendistill' has no 'nowhere'"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_made(given: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        run(tmp_path, "refused", keep_best=given)
    assert not (tmp_path / "refused").exists()


def test_less_of_a_distance_is_better() -> None:
    assert (
        not KeepBest("distance").greater and KeepBest("accuracy").greater and KeepBest("distance", higher=True).greater
    )


def test_what_is_done_beside_a_run_makes_it_no_other_run(tmp_path: Path) -> None:
    run(tmp_path, "run", steps=4)
    run(tmp_path, "run", steps=6, keep_best=KEEP, callbacks=[f"{__name__}.Careless"])
    assert run(tmp_path, "run", steps=8).step == 8
