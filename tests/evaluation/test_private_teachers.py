"""Whatever judges, searches or publishes takes nothing of a private teacher from the images that it protects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gendistill as gd
from gendistill.commands.published import published
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.judging import judged
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.poisoning import attack_report
from gendistill.evaluation.practice import practise
from gendistill.nas.proxies import with_baselines
from gendistill.nets.gtn import GTNGenerator
from gendistill.nets.learners import build_learner
from gendistill.poison import Poison
from gendistill.privacy.promise import KEY
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import GeneratorTeacher, StoredImages, Teacher, open_teacher, save
from gendistill.teacher.identity import checksum
from gendistill.teacher.labeller import Labeller, labelled
from trainers.enas import ENASTrainer

PROMISE = {"epsilon": 1.0, "delta": 1e-5, "adjacency": "add-remove", "calls": []}
QUICK: dict[str, Any] = {"updates": [2], "seeds": 1, "batch_size": 3, "device": "cpu"}


@pytest.fixture
def private(tiny_data: RealData) -> StoredImages:
    images = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return StoredImages(images, torch.arange(6) % 3, tiny_data.description, metadata={KEY: PROMISE})


@pytest.fixture
def generator(tiny_data: RealData) -> GeneratorTeacher:
    network = GTNGenerator(num_classes=3, image_shape=(1, 8, 8), nz=3, hidden=8, channels=4)
    return GeneratorTeacher(network, tiny_data.description, metadata={KEY: PROMISE})


@pytest.mark.parametrize("split", ["validation", "train"])
def test_learners_are_measured_on_test_images_alone(tiny_data: RealData, private: Teacher, split: str) -> None:
    with pytest.raises(UserError, match="measure on test images"):
        learning_curve(private, tiny_data, split=split, **QUICK)
    with pytest.raises(UserError, match="measure on test images"):
        attack_report(private, tiny_data, Poison(0, 1), split=split)


def test_no_rate_is_chosen_for_victims_or_practice(
    tiny_data: RealData, private: Teacher, generator: GeneratorTeacher
) -> None:
    with pytest.raises(UserError, match="validation images choose one"):
        attack_report(private, tiny_data, Poison(0, 1), lr=[0.1, 0.01], seeds=1)
    public = GeneratorTeacher(generator.network, tiny_data.description)
    with pytest.raises(UserError, match="validation images choose one"):
        practise(public, tiny_data, others={"private": private}, rates=[0.1, 0.01], seeds=1)
    with pytest.raises(UserError, match="practice asks validation images"):
        practise(generator, tiny_data, seeds=1)


def test_no_architecture_is_chosen(tiny_data: RealData, private: Teacher, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="architectures are scored by validation images"):
        with_baselines(
            "private", private, None, tiny_data, updates=1, batch_size=3, lr=[0.1], seeds=1,  # type: ignore[arg-type]
            device=torch.device("cpu"), seed=0,
        )  # fmt: skip
    save(private, tmp_path / "teacher.safetensors")
    options = RunOptions(name="run", root=str(tmp_path), steps=1, device="cpu", progress=False)
    with pytest.raises(UserError, match="by validation images, and those"):
        train(ENASTrainer(teacher=str(tmp_path / "teacher.safetensors"), learning_rate=0.1), tiny_data, options)


def test_python_looks_at_training_images_where_it_is_asked_to_alone(
    tiny_data: RealData, private: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gd.evaluate(private, tiny_data, progress=False, **QUICK).to_dict()
    assert found["fidelity"] is None
    asked: list[bool] = []

    def spy(teacher: Teacher, data: RealData, *, fidelity: Any, **options: Any) -> dict[str, Any]:
        asked.append(fidelity is not None)
        return {**found, "name": options["name"]}

    monkeypatch.setattr("gendistill.library.judging.judged", spy)
    for fidelity in (None, True, {"count": 6}):
        teachers = {"private": private, "real": open_teacher("real:ipc=2", tiny_data)}
        gd.compare(teachers, tiny_data, baselines=False, fidelity=fidelity, progress=False, **QUICK)
    assert asked == [False, True, True, True, True, True]
    with pytest.raises(UserError, match="train on all real training images"):
        judged(private, tiny_data, learning=QUICK, fidelity=None, robust=True)


def test_a_labeller_takes_the_promise_away(tiny_data: RealData, private: StoredImages, tmp_path: Path) -> None:
    """Its network may have learned from the private images."""
    save(private, tmp_path / "private.safetensors")
    network = build_learner("gendistill.nets.learners.MLP", num_classes=3, image_shape=(1, 8, 8), width=4)
    other = labelled(private, Labeller(network, tiny_data.description.normalisation))
    save(other, tmp_path / "other.safetensors")
    found = open_teacher(f"{tmp_path}/private.safetensors,labels={tmp_path}/other.safetensors", tiny_data)
    assert found.labeller is not None and KEY not in found.metadata
    assert KEY in open_teacher(tmp_path / "private.safetensors", tiny_data).metadata


@pytest.mark.parametrize("key", ["privacy", None])
def test_a_card_has_no_distance_to_private_images(key: str | None, private: StoredImages) -> None:
    one: dict[str, Any] = {"fidelity": {"value": 3.0, "name": "FD", "n": 10}, "seconds": 20.0, "name": "x"}
    one["teacher"] = {"checksum": checksum(private)}
    facts = published({"teachers": [one | ({} if key is None else {key: PROMISE})]}, "results.json", "x", private)
    assert (set(facts) & {"distance to real images", "seconds to make"} == set()) is (key is not None)
