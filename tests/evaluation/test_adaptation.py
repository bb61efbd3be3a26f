from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill import cli
from gendistill import teacher as teachers
from gendistill.data import load
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.adaptation import _as_shown, adaptation_report
from gendistill.evaluation.pretraining import Pretraining
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import RealSubset
from trainers.dataset_distillation import DatasetDistillationTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 8, "depth": 1}}


@pytest.fixture(scope="module")
def negatives() -> RealData:
    """The digits, bright where they are dark: networks trained on digits know little of them."""
    data = load("digits")
    parts = [Split(255 - part.images, part.labels) for part in (data.train, data.validation, data.test)]
    return RealData(data.description, *parts)


def run(data: RealData, root: Path, name: str, steps: int = 2, **options: Any) -> Path:
    given: dict[str, Any] = {"inner_steps": 2, "inner_epochs": 1, "learner": LEARNER, "batch_size": 64}
    given |= {"victim": "trained", "victims": 4, "victim_updates": 60, "source": {"name": "digits"}}
    given |= {"meta_lr": 0.05, "images": "real", "learning_rate": 0.02}
    run = RunOptions(name=name, root=str(root), steps=steps, device="cpu", sample_every=0, progress=False, save_every=2)
    train(DatasetDistillationTrainer(**(given | options)), data, run)
    return root / name / "teacher.safetensors"


def test_networks_that_distillation_never_met_learn_the_target(negatives: RealData, tmp_path: Path) -> None:
    taught = teachers.load(run(negatives, tmp_path, "negatives", steps=80))
    report = adaptation_report(taught, negatives, networks=3)
    assert report["networks"] == [0, 1, 2] and not report["known"] and report["updates"] == 2 and report["images"] == 20
    scores = {name: measured["mean"] for name, measured in report["accuracy"].items()}
    assert scores["distilled"] > scores["before"] + 0.2 and scores["distilled"] > scores["random real"]
    # The slow way for the first column: the networks as they were trained, asked about the target.
    plan = Pretraining.of(taught)
    assert plan is not None and plan.source == {"name": "digits"} and plan.networks == 4
    images, labels = negatives.test.batch(torch.arange(len(negatives.test)), negatives.description.normalisation)
    for network, measured in zip(
        plan.trained(load("digits"), [0, 1, 2]), report["accuracy"]["before"]["runs"], strict=True
    ):
        with torch.no_grad():
            assert float((network(images).argmax(1) == labels).double().mean()) == pytest.approx(measured)


def test_one_network_is_measured_by_itself(negatives: RealData, tmp_path: Path) -> None:
    taught = teachers.load(run(negatives, tmp_path, "known", victims=1, weights="xavier"))
    report = adaptation_report(taught, negatives, networks=3, rates=[0.01])
    plan = Pretraining.of(taught)
    assert plan is not None and plan.initial is not None and plan.initial.weights == "xavier"
    assert report["known"] and report["networks"] == [plan.first_seed] and report["lr"] == 0.01
    assert all(measured["std"] is None for measured in report["accuracy"].values())


def test_random_real_images_are_shown_as_the_distilled_ones_are(negatives: RealData, tmp_path: Path) -> None:
    taught = teachers.load(run(negatives, tmp_path, "shown", steps=1, images_per_class=2))
    assert isinstance(taught, teachers.StoredImages)
    real = _as_shown(taught, negatives, 0)
    assert len(real.images) == len(taught.images) == 40 and torch.equal(real.labels, taught.labels)
    shown = [[labels.tolist() for _, labels, _ in one.batches(2, 7, torch.Generator())] for one in (real, taught)]
    assert shown[0] == shown[1] and len(shown[0][0]) == 20
    known = negatives.train.images.flatten(1)
    assert all(bool((known == image).all(1).any()) for image in real.images.flatten(1))
    assert not torch.equal(real.images, _as_shown(taught, negatives, 1).images)


def test_a_run_that_is_made_longer_ends_where_the_long_one_does(negatives: RealData, tmp_path: Path) -> None:
    whole = teachers.load(run(negatives, tmp_path, "whole", steps=4, victim_updates=10)).tensors()
    run(negatives, tmp_path, "halves", steps=2, victim_updates=10)
    halves = teachers.load(run(negatives, tmp_path, "halves", steps=4, victim_updates=10)).tensors()
    assert all(torch.equal(tensor, halves[name]) for name, tensor in whole.items())


def test_the_command_prints_the_three_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(load("digits"), tmp_path, "same", victim_updates=20)
    words = ["adapt", str(path.parent), "--networks", "2", "--device", "cpu", "--output", str(tmp_path / "found.json")]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "digits -> digits, test images, 2 held-out networks" in said
    assert all(row in said for row in ("before", "distilled", "random real"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["accuracy"]) == {"before", "distilled", "random real"}


def test_other_teachers_and_wrong_options_are_refused(negatives: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="source"):
        adaptation_report(RealSubset.all(negatives.train, negatives.description), negatives)
    taught = teachers.load(run(negatives, tmp_path, "one", steps=1, victim_updates=1))
    with pytest.raises(UserError, match="validation"):
        adaptation_report(taught, negatives, split="validaton")
    with pytest.raises(UserError, match="from 1"):
        adaptation_report(taught, negatives, networks=0)
    with pytest.raises(UserError, match="set victim to trained"):
        DatasetDistillationTrainer(source={"name": "digits"})
