from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation import robust_scores as scores
from gendistill.evaluation.robust_scores import augmentation_robust_score, label_robust_score
from gendistill.seeds import stream
from gendistill.teacher import RealSubset, StoredImages

QUICK: dict[str, Any] = {"updates": [2, 6], "seeds": 1, "lr": 0.05, "batch_size": 9}


def test_the_formulas_on_published_numbers() -> None:
    # DSA on CIFAR-10 at 10 images a class: 84.8 from all data, 52.1 from the set, 26.0 from random images.
    found = label_robust_score(0.848, 0.521, 0.521, 0.26)
    assert found == pytest.approx((math.exp(0.5 * 0.261 - 0.5 * 0.327) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert found == pytest.approx(0.255, abs=5e-4)
    assert label_robust_score(0, 1, 1, 0) == pytest.approx(1) and label_robust_score(1, 0, 0, 1) == pytest.approx(0)
    assert augmentation_robust_score(1, 0, 1, 0) == pytest.approx(1)
    assert augmentation_robust_score(0.5, 0.5, 0.4, 0.4) == pytest.approx((1 - 1 / math.e) / (math.e - 1 / math.e))
    only = augmentation_robust_score(0.6, 0.5, 0.9, 0.1, weight=1)
    assert only == pytest.approx(augmentation_robust_score(0.6, 0.5, 0.6, 0.5))
    with pytest.raises(UserError, match="divide percentages"):
        label_robust_score(84.8, 52.1, 52.1, 26.0)


def test_every_training_is_compared_as_the_definition_says(tiny_data: RealData, monkeypatch) -> None:
    seen = []

    def learning_curve(teacher, data, **options) -> dict[str, Any]:
        kind = "real" if teacher.images_stored == len(data.train) else "soft" if teacher.labels_are_soft else "hard"
        seen.append((kind, options.get("labels", "given"), options.get("augment"), tuple(options["updates"])))
        return {"accuracy": {"mean": [0.0, 0.1 * len(seen)]}}

    monkeypatch.setattr(scores, "learning_curve", learning_curve)
    soft = StoredImages(torch.randn(6, 1, 8, 8), torch.rand(6, 3), tiny_data.description)
    found = scores.robust_scores(soft, tiny_data, augment="crop", real_options={"updates": [9]}, updates=[1, 2],
                                 labeller_updates=2)  # fmt: skip
    assert seen == [
        ("real", "hard", "crop", (9,)),
        ("soft", "given", "crop", (1, 2)),
        ("soft", "given", "crop", (1, 2)),
        ("soft", "hard", "crop", (1, 2)),
        ("soft", "given", None, (1, 2)),
        ("soft", "given", None, (1, 2)),
    ]
    names = ("real_hard", "teacher_any", "random_any", "teacher_hard", "teacher_plain", "random_plain")
    assert found["accuracy"] == {name: pytest.approx(0.1 * place) for place, name in enumerate(names, 1)}
    assert found["hard_label_recovery"] == pytest.approx(-0.3)
    assert found["improvement_over_random"] == pytest.approx(-0.1)
    assert found["lrs"] == pytest.approx(label_robust_score(0.1, 0.4, 0.2, 0.3))
    assert found["ars"] == pytest.approx(augmentation_robust_score(0.2, 0.3, 0.5, 0.6))


def test_real_random_images_are_no_better_than_themselves(tiny_data: RealData) -> None:
    drawn = stream(0, "real-subset")
    teacher = RealSubset.random(tiny_data.train, tiny_data.description, generator=drawn, images_per_class=3)
    found = scores.robust_scores(teacher, tiny_data, **QUICK)
    assert found["improvement_over_random"] == 0 and found["ars"] is None and found["images"] == 9
    assert set(found["accuracy"]) == {"real_hard", "teacher_hard", "teacher_any", "random_any"}
    assert 0 <= found["lrs"] <= 1


def test_random_images_have_the_teachers_numbers_and_kind_of_labels(tiny_data: RealData) -> None:
    random = scores._random([3, 1, 2], tiny_data, 0)
    assert random.label_counts == [3, 1, 2] and not random.labels_are_soft
    soft = scores._softly(random, tiny_data, None, 40, 0)
    assert torch.equal(soft.everything()[0], random.everything()[0])
    assert torch.allclose(soft.everything()[1].sum(1), torch.ones(6))
    assert torch.equal(soft.everything()[1].argmax(1), random.labels), "after 40 updates bands are told apart"
    with pytest.raises(UserError, match="only 32 to compare"):
        scores._random([33, 1, 1], tiny_data, 0)


@pytest.mark.parametrize("soft", [False, True])
def test_at_a_learned_rate_real_images_stand_beside_at_the_papers(tiny_data: RealData, soft: bool) -> None:
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    shown = torch.nn.functional.one_hot(labels, 3).float() if soft else labels
    teacher = StoredImages(images, shown, tiny_data.description, learning_rates=torch.tensor([0.05]))
    found = scores.robust_scores(teacher, tiny_data, **(QUICK | {"lr": "learned"}), labeller_updates=2)
    fixed = scores.robust_scores(teacher, tiny_data, **(QUICK | {"lr": 0.01}), labeller_updates=2)
    assert found["accuracy"]["random_any"] == fixed["accuracy"]["random_any"]
    assert found["accuracy"]["real_hard"] == fixed["accuracy"]["real_hard"]
