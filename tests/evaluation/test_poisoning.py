from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.detection import clean_set, damage, detect, neighbour_check
from gendistill.evaluation.poisoning import attack_report
from gendistill.poison import Poison
from gendistill.teacher import RealSubset, StoredImages

ANSWERS = ((6, 2, 0, 0), (0, 8, 0, 0), (4, 3, 1, 0), (0, 0, 4, 4))
"""What the hand-made learner answers: of each class's eight images so many are taken for classes 0..3."""


class Knows(nn.Module):
    """Answers what the first pixel says, whatever it is taught: its only weight has no influence."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.idle = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        answers = (x[:, 0, 0, 0] * 255).round().long()
        return nn.functional.one_hot(answers, self.num_classes).float() * 9 + 0 * self.idle


LEARNER = {"class_path": f"{__name__}.Knows"}


def known() -> RealData:
    """Images whose first pixel is the answer that ANSWERS asks for."""
    labels = torch.arange(4).repeat_interleave(8)
    answers = torch.tensor([answer for row in ANSWERS for answer, count in enumerate(row) for _ in range(count)])
    images = torch.zeros(32, 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = answers
    split = Split(images, labels)
    return RealData(Description("four", tuple("abcd"), (1, 2, 2), Normalisation((0.0,), (1.0,))), split, split, split)


def test_the_report_of_a_known_confusion() -> None:
    data = known()
    teacher = RealSubset.all(data.train, data.description)
    options: dict[str, Any] = {"learner": LEARNER, "updates": (0, 2), "seeds": 2, "lr": 0.1}
    for (source, target), success, recognised, clean in (
        ((2, 0), 4 / 8, 1 / 8, 18 / 24),
        ((0, 1), 2 / 8, 6 / 8, 13 / 24),
        ((1, 0), 0.0, 1.0, 11 / 24),
    ):
        report = attack_report(teacher, data, Poison(source, target), **options)
        assert report["attack"] == f"{source}:{target}" and report["lr"] == 0.1
        assert report["attack_success"]["mean"] == [success] * 2
        assert report["source_accuracy"]["mean"] == [recognised] * 2
        assert report["clean_accuracy"]["mean"] == pytest.approx([clean] * 2)
        assert report["clean_accuracy"]["std"] == [0.0, 0.0] and len(report["clean_accuracy"]["runs"][0]) == 2


def test_damage_names_the_least_class_and_what_it_is_taken_for() -> None:
    data = known()
    teacher = RealSubset.all(data.train, data.description)
    found = damage(teacher, data, clean_per_class=8, learner=LEARNER, updates=(1,), seeds=2, lr=0.1)
    assert found["accuracy"] == [6 / 8, 1.0, 1 / 8, 4 / 8] and found["images"] == 8
    assert found["suspect"] == {"class": 2, "taken_for": 0, "share": 4 / 8}
    assert found["median"] == pytest.approx((6 / 8 + 4 / 8) / 2) and found["flagged"] is True


class Halves(nn.Module):
    """Stands for the trusted classifier: says class 0 for dark images and class 1 for bright ones."""

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return normalisation.invert(images).mean((1, 2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        return torch.stack([0.5 - features, features - 0.5, torch.full_like(features, -9.0)], 1)


def test_detectors_of_an_honest_teacher_flag_nothing(tiny_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendistill.evaluation.detection.trained_classifier", lambda data: Halves())
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    learner = {"class_path": "gendistill.nets.learners.MLP"}
    found = detect(teacher, tiny_data, clean_per_class=5, updates=(40,), seeds=2, lr=0.1, learner=learner)
    assert found["damage"]["flagged"] is False and min(found["damage"]["accuracy"]) > 0.8
    assert found["neighbour_check"]["agreement"] == 1.0
    # Every image is dark: the stand-in agrees with the labels of class 0 alone.
    assert found["label_check"] == {"agreement": pytest.approx(1 / 3), "by_class": [1.0, 0.0, 0.0]}


def test_trained_victims_know_the_classes_before_the_first_update(tiny_data: RealData) -> None:
    images, labels = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    teacher = StoredImages(images, labels, tiny_data.description, metadata={"seed": 0})
    options: dict[str, Any] = {"updates": (0,), "seeds": 2, "lr": 0.01, "victim_updates": 60}
    options["learner"] = {"class_path": "gendistill.nets.learners.MLP"}
    fresh = attack_report(teacher, tiny_data, Poison(2, 0), **options)
    trained = attack_report(teacher, tiny_data, Poison(2, 0), victim="trained", **options)
    assert fresh["source_accuracy"]["mean"][0] + fresh["clean_accuracy"]["mean"][0] < 1.5
    assert trained["source_accuracy"]["mean"][0] > 0.9 and trained["clean_accuracy"]["mean"][0] > 0.9


def test_neighbours_find_wrong_labels(tiny_data: RealData) -> None:
    images, labels = tiny_data.train.batch(torch.arange(30), tiny_data.description.normalisation)
    given = torch.where(torch.arange(30) < 9, (labels + 1) % 3, labels)
    found = neighbour_check(StoredImages(images, given, tiny_data.description), tiny_data)
    assert found["agreement"] == pytest.approx(21 / 30)
    assert found["by_class"] == pytest.approx([7 / 10] * 3)


def test_the_clean_set_has_so_many_of_every_class(tiny_data: RealData) -> None:
    chosen = clean_set(tiny_data.validation, 3, 4, seed=1)
    assert chosen.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len({image.numpy().tobytes() for image in chosen.images}) == 12
    with pytest.raises(UserError, match="at least 2"):
        clean_set(tiny_data.validation, 3, 1, seed=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"victim": "stale"}, "fresh"),
        ({"split": "tests"}, "test"),
        ({"updates": ()}, "numbers from 0"),
        ({"victim": "trained", "victim_updates": 0}, "at least 1 update"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], message: str) -> None:
    data = known()
    with pytest.raises(UserError, match=message):
        attack_report(RealSubset.all(data.train, data.description), data, Poison(2, 0), **({"lr": 0.1} | given))


def test_a_split_without_the_class_is_refused() -> None:
    data = known()
    few = RealData(data.description, data.train, data.validation, Split(data.test.images[:8], data.test.labels[:8]))
    with pytest.raises(UserError, match="another split"):
        attack_report(RealSubset.all(data.train, data.description), few, Poison(2, 0), lr=0.1)
