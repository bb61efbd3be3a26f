from __future__ import annotations

import pytest
import torch

from gendistill.evaluation.ablation import rate_ablations
from gendistill.evaluation.learning import learning_curve
from gendistill.teacher import RealSubset, StoredImages

SMALL = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
QUICK = {"learner": SMALL, "updates": (2, 6), "seeds": 2}


def stored(tiny_data, **options) -> StoredImages:
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    return StoredImages(images, labels, tiny_data.description, **options)


def runs(teacher, data, learning):
    return learning_curve(teacher, data, **learning)["accuracy"]["runs"]


def test_its_images_are_judged_as_if_it_had_learned_no_rates_and_real_ones_as_if_they_had(tiny_data) -> None:
    teacher = stored(tiny_data, learning_rates=torch.tensor([0.03]), batch_size=5)
    images, real = rate_ablations("mtt", teacher, tiny_data, QUICK)
    assert [one.name for one in (images, real)] == ["mtt at grid rates", "real at the rates of mtt"]
    assert images.note == {"of": "mtt", "keeps": "images"} and real.note == {"of": "mtt", "keeps": "rates"}
    plain = runs(stored(tiny_data, batch_size=5), tiny_data, QUICK)
    assert runs(images.teacher, tiny_data, images.learning) == plain
    everything = RealSubset.all(tiny_data.train, tiny_data.description)
    rate = float(teacher.learning_rates[0])
    fixed = QUICK | {"lr": rate, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 5}
    assert runs(real.teacher, tiny_data, real.learning) == runs(everything, tiny_data, fixed)


def test_a_schedule_and_momenta_go_along(tiny_data) -> None:
    learned = {"learning_rates": torch.tensor([0.1, 0.02]), "momenta": torch.tensor([0.0, 0.5])}
    _, real = rate_ablations("gtn", stored(tiny_data, **learned), tiny_data, QUICK)
    assert real.teacher.schedules(3) == stored(tiny_data, **learned).schedules(3)
    result = learning_curve(real.teacher, tiny_data, **real.learning)
    assert result["lr"] == ["teacher"] * 2
    assert result["images_seen"] == [24, 72]  # twelve an update, as many as the teacher has


def test_the_other_rates_are_those_that_are_named_beside_its_own(tiny_data) -> None:
    teacher = stored(tiny_data, learning_rates=torch.tensor([0.03]))
    images, real = rate_ablations("a", teacher, tiny_data, QUICK | {"lr": ["teacher", 0.1, 0.2]})
    assert (images.learning["lr"], real.learning["lr"]) == ([0.1, 0.2], "teacher")
    # Judged at numbers, its images are judged without its rates already.
    (only,) = rate_ablations("a", teacher, tiny_data, QUICK | {"lr": 0.1})
    assert only.note["keeps"] == "rates"


def test_as_many_updates_as_the_teachers_epochs_take(tiny_data) -> None:
    teacher = stored(tiny_data, learning_rates=torch.tensor([0.03]))
    learning = {"protocol": "condensation-mtt", "learner": SMALL, "epochs": 7, "seeds": 1}
    images, real = rate_ablations("mtt", teacher, tiny_data, learning)
    assert (images.learning["lr"], real.learning["lr"]) == ("grid", "learned")
    both = [learning_curve(one.teacher, tiny_data, **one.learning) for one in (images, real)]
    assert [one["learner_updates"] for one in both] == [7, 7]
    assert [one["images_seen"] for one in both] == [[84], [84]]
    assert [one["momentum"] for one in both] == [0.9, 0.9]


def test_real_images_are_seen_in_the_whitening_of_the_teachers(tiny_data) -> None:
    normalisation = tiny_data.whitening(0.1)
    images, labels = tiny_data.train.batch(torch.arange(12), normalisation)
    description = tiny_data.description.with_normalisation(normalisation)
    teacher = StoredImages(images, labels, description, learning_rates=torch.tensor([0.03]))
    _, real = rate_ablations("mtt", teacher, tiny_data, QUICK)
    assert real.teacher.description.normalisation == normalisation
    assert learning_curve(real.teacher, tiny_data, **real.learning)["normalisation"] == "teacher"


@pytest.mark.parametrize("made_for", ["sgd", "adam"])
def test_rates_are_taken_by_the_optimiser_that_they_are_for(tiny_data, made_for) -> None:
    teacher = stored(tiny_data, learning_rates=torch.tensor([0.03]), metadata={"optimizer": made_for})
    real = rate_ablations("a", teacher, tiny_data, QUICK)[-1]
    assert learning_curve(real.teacher, tiny_data, **real.learning)["optimizer"] == made_for


def test_without_learned_rates_there_is_nothing_to_tell_apart(tiny_data) -> None:
    assert rate_ablations("dm", stored(tiny_data), tiny_data, QUICK) == []
