"""Measurements while a run trains: right, of the run's own images, and without a trace in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.extractors import Extractor, extract
from gendistill.evaluation.frechet import frechet_distance_from_features
from gendistill.evaluation.probe import DistanceProbe
from gendistill.runs.context import RunContext
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import stream
from gendistill.teacher import load
from trainers.gan import ConditionalGANTrainer

NETS = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 8, "ngf": 8}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 8}},
}


class Means(Extractor):
    """The means of an image's quarters, with a disturbance that the run must not notice."""

    name = "means"

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        torch.rand(3)
        return functional.adaptive_avg_pool2d(normalisation.invert(images).mean(1, keepdim=True), 2).flatten(1)


@pytest.fixture(autouse=True)
def _means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gendistill.evaluation.probe.choose_extractor", lambda *_: Means())
    monkeypatch.setenv("GENDISTILL_CACHE", str(tmp_path / "cache"))


def gan(data: RealData, root: Path, name: str, steps: int = 6, **options: Any) -> RunContext:
    trainer = ConditionalGANTrainer(batch_size=8, lr_decay="none", **NETS)
    defaults: dict[str, Any] = {"sample_every": 0, "save_every": 2, "progress": False, "device": "cpu", "tune": "off"}
    return train(trainer, data, RunOptions(name, str(root), steps, **(defaults | options)))


def state_of(run: RunContext) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run.directory.state, weights_only=True)
    for name in ("seconds", "cpu_seconds", "peaks", "best"):
        state.pop(name, None)
    state["config"]["run"] = None
    return state


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_run_that_measures_ends_in_the_same_bits(tiny_data: RealData, tmp_path: Path) -> None:
    plain = gan(tiny_data, tmp_path, "plain")
    measuring = gan(tiny_data, tmp_path, "measuring", evaluate_every=2, evaluate_samples=30)
    assert plain.measured == {} and set(measuring.measured) == {"fd", "fd_validation"}
    assert equal(state_of(plain), state_of(measuring))


def test_it_is_the_distance_of_the_teacher_and_the_best_survives_a_restart(tiny_data: RealData, tmp_path: Path) -> None:
    options: dict[str, Any] = {"evaluate_every": 1, "evaluate_samples": 30, "save_every": 1}
    whole = gan(tiny_data, tmp_path, "whole", **options)
    gan(tiny_data, tmp_path, "parts", 3, **options)
    parts = gan(tiny_data, tmp_path, "parts", **options)
    assert parts.measured == whole.measured and parts.best == whole.best
    teacher = load(whole.directory.teacher)
    images, _ = teacher.sample(30, stream(0, "probe", torch.device("cpu")))
    pixels = tiny_data.description.normalisation
    features = extract(Means(), teacher.description.normalisation.convert(images, pixels), pixels)
    real = extract(Means(), tiny_data.validation.images, pixels)
    assert whole.measured["fd_validation"] == pytest.approx(frechet_distance_from_features(features, real), rel=1e-6)


def test_what_is_measured_is_logged_and_said(tiny_data: RealData, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = gan(tiny_data, tmp_path, "run", evaluate_every=4, evaluate_samples=20)
    accumulator = EventAccumulator(str(run.directory.path))
    accumulator.Reload()
    points = accumulator.Scalars("measured/fd")
    assert [point.step for point in points] == [4, 6]  # the last step is measured, too
    assert points[-1].value == pytest.approx(run.measured["fd"], rel=1e-6)
    assert "step 4: fd " in run.directory.log.read_text()


def test_the_best_is_the_lowest_distance_and_the_most_modes(tmp_path: Path, tiny_data: RealData) -> None:
    run = gan(tiny_data, tmp_path, "run", 1)
    for step, fd, modes in ((1, 3.0, 2.0), (2, 2.0, 5.0), (3, 2.5, 4.0), (4, float("nan"), float("nan"))):
        run.step = step
        run.take({"fd": fd, "modes_captured": modes})
    assert run.best == {"fd": (2, 2.0), "modes_captured": (2, 5.0)}


@pytest.mark.parametrize("given", [{"evaluate_every": -1}, {"evaluate_samples": 1}])
def test_numbers_that_measure_nothing_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"run.{next(iter(given))}"):
        RunOptions(**given)  # type: ignore[arg-type]


def test_a_probe_of_one_image_is_refused(tiny_data: RealData) -> None:
    with pytest.raises(UserError, match="at least 2"):
        DistanceProbe(tiny_data, 1)
