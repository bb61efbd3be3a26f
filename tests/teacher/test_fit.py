"""Classes in another order: every kind of teacher gives the same images under the data's own numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from every_kind import KINDS, same
from torch import Tensor

from gendistill.data.description import Description
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.pretraining import load_source
from gendistill.nets.reordered import ReorderedGenerator
from gendistill.teacher import GeneratorTeacher, RealSubset, StoredImages, Teacher, load, open_teacher, save
from gendistill.teacher.fit import KEY, fitted

OTHER = ("bottom", "top", "middle")
MLP = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 12}}


def by_name(labels: Tensor, names: tuple[str, ...]) -> list[Any]:
    if labels.is_floating_point():
        return [dict(zip(names, row, strict=True)) for row in labels.flatten(0, -2).tolist()]
    return [names[label] for label in labels.flatten().tolist()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_images_under_the_same_names(
    kind: str, make: Callable[[str], Teacher], description: Description, tmp_path: Path
) -> None:
    teacher = make(kind)
    before = teacher.tensors()
    real = replace(description, class_names=OTHER)
    found = fitted(teacher, real)
    assert found.description.class_names == OTHER and teacher.description.class_names == description.class_names
    assert all(torch.equal(value, teacher.tensors()[name]) for name, value in before.items())
    if kind == "fresh":
        assert isinstance(teacher, GeneratorTeacher) and isinstance(found, GeneratorTeacher)
        latents, labels = torch.randn(9, 4), torch.arange(9) % 3
        own = torch.tensor([description.class_names.index(name) for name in by_name(labels, OTHER)])
        assert torch.equal(found.generate(latents, labels), teacher.generate(latents, own))
        soft = torch.rand(9, 3)
        assert torch.equal(
            ReorderedGenerator(Telling(), [1, 2, 0])(latents, soft), soft[:, [1, 2, 0]]
        )  # its class k is told as 1, 2, 0
        assert torch.equal(found.sample(6, torch.Generator())[1].bincount(), torch.tensor([2, 2, 2]))
    else:
        images, labels = teacher.everything()
        others, told = found.everything()
        assert torch.equal(images, others)
        assert by_name(labels, description.class_names) == by_name(told, OTHER)
    assert "come in another order (top, middle, bottom); its labels are mapped" in found.metadata[KEY]["note"]
    # What is fitted stays as it is, and is written and read.
    assert fitted(found, real) is found
    save(found, tmp_path / "t.safetensors")
    same(load(tmp_path / "t.safetensors"), found)
    assert fitted(teacher, description) is teacher


class Telling(torch.nn.Module):
    """Returns the labels that it is told."""

    nz = 4

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_are_only_numbered_take_the_names_of_the_data(
    kind: str, make: Callable[[str], Teacher], description: Description, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = make(kind)
    teacher.description = replace(description, class_names=("0", "1", "2"))
    found = fitted(teacher, description, f"{kind}.safetensors")
    assert found.description == description
    tensors = found.tensors()
    assert all(torch.equal(value, tensors[name]) for name, value in teacher.tensors().items())
    said = capsys.readouterr().err
    assert f"note: the classes of teacher '{kind}.safetensors' are only numbered on one side" in said
    assert "top, middle, bottom" in said


def test_other_classes_are_refused_wherever_a_teacher_meets_data(tiny_data: RealData, tmp_path: Path) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    save(teacher, tmp_path / "t.safetensors")
    data = replace(tiny_data, description=replace(tiny_data.description, class_names=("middle", "bottom", "side")))
    meetings: list[Callable[[], object]] = [
        lambda: open_teacher(tmp_path / "t.safetensors", data),
        lambda: evaluate(teacher, data),
        lambda: learning_curve(teacher, data, updates=[1], seeds=1, lr=0.1),
    ]
    for meet in meetings:
        with pytest.raises(UserError, match="classes top, middle, bottom .* has middle, bottom, side"):
            meet()


def shuffled(data: RealData) -> RealData:
    """Return the same pictures with the classes numbered in another order."""
    return data.in_order(torch.tensor([OTHER.index(name) for name in data.description.class_names]), OTHER)


def test_a_teacher_in_another_order_teaches_the_same(tiny_data: RealData, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    result = evaluate(
        teacher, shuffled(tiny_data), fidelity=None, learning={"learner": MLP, "updates": [60], "seeds": 2, "lr": 0.1}
    )
    assert result["learning"]["accuracy"]["mean"][-1] > 0.95
    assert result["learning"]["class_names"] == list(OTHER)
    sentence = (
        "the teacher's classes come in another order (top, middle, bottom); its labels are mapped to those of 'bands'"
    )
    assert result["notes"] == [sentence] and capsys.readouterr().err.count(sentence) <= 1
    # Judged by position it would be at chance, as a result says by itself.
    wrong = StoredImages(*teacher.everything(), replace(tiny_data.description, class_names=OTHER))
    found = evaluate(
        wrong, shuffled(tiny_data), fidelity=None, learning={"learner": MLP, "updates": [60], "seeds": 2, "lr": 0.1}
    )
    assert found["learning"]["accuracy"]["mean"][-1] < 0.1
    assert "after 60 updates accuracy is at chance" in found["notes"][0]


def test_what_names_classes_by_number_is_mapped_or_refused(
    make: Callable[[str], Teacher], description: Description
) -> None:
    teacher, real = make("hard"), replace(description, class_names=OTHER)
    teacher.metadata["poisoned"] = {"source": 0, "target": 2, "weight": 3.0}
    assert fitted(teacher, real).metadata["poisoned"] == {"source": 1, "target": 0, "weight": 3.0}
    assert teacher.metadata["poisoned"]["source"] == 0
    for key, value in (("initialisation", {"fixed_layers": 2}), ("pretraining", {"networks": 1})):
        bound = make("hard")
        bound.metadata[key] = value
        with pytest.raises(UserError, match="first weights are given, with the classes in the order top, middle"):
            fitted(bound, real)


def test_an_order_of_classes_is_an_order() -> None:
    with pytest.raises(UserError, match="give every number from 0 once"):
        ReorderedGenerator(Telling(), [0, 0, 1])


def test_a_source_of_networks_is_brought_into_the_order_of_the_target(
    tiny_data: RealData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gendistill.evaluation.pretraining.load", lambda **options: shuffled(tiny_data))
    found = load_source({"name": "x"}, tiny_data.description, "cpu")
    assert found.description.class_names == tiny_data.description.class_names
    assert torch.equal(found.train.labels, tiny_data.train.labels)
    assert "they are mapped to those of 'bands'" in capsys.readouterr().err
    renamed = replace(tiny_data, description=replace(tiny_data.description, class_names=("x", "y", "z")))
    monkeypatch.setattr("gendistill.evaluation.pretraining.load", lambda **options: renamed)
    assert load_source({"name": "x"}, tiny_data.description, "cpu") is renamed
    assert "(x, y, z) are taken for those of 'bands' (top, middle, bottom) one by one" in capsys.readouterr().err


def test_a_split_without_a_class_is_said(tiny_data: RealData) -> None:
    few = tiny_data.test.labels != 2
    data = replace(tiny_data, test=Split(tiny_data.test.images[few], tiny_data.test.labels[few]))
    teacher = RealSubset.all(data.train, data.description)
    result = evaluate(teacher, data, fidelity=None, learning={"learner": MLP, "updates": [30], "seeds": 1, "lr": 0.1})
    assert result["notes"][0].startswith("the test split has no image of bottom")
