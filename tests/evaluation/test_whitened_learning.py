"""Learners of a whitened teacher are shown whitened images, and tested on such."""

from __future__ import annotations

import pytest
import torch

from gendistill.data.augment import black
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.lessons import whose_normalisation
from gendistill.teacher import RealSubset, StoredImages

OPTIONS = {"updates": [1, 8], "seeds": 2, "lr": 0.05, "batch_size": 16}


@pytest.fixture
def whitened(tiny_data: RealData) -> RealData:
    return tiny_data.with_normalisation(tiny_data.whitening(0.1))


def test_a_whitened_teacher_brings_its_whitening_along(tiny_data: RealData, whitened: RealData) -> None:
    teacher = RealSubset.all(whitened.train, whitened.description)
    by_itself = learning_curve(teacher, tiny_data, **OPTIONS)
    among_whitened = learning_curve(teacher, whitened, **OPTIONS)
    assert by_itself["normalisation"] == "teacher" and among_whitened["normalisation"] == "data"
    assert by_itself["accuracy"] == among_whitened["accuracy"]
    # The same images, stored as floats, teach the same.
    stored = StoredImages(*teacher.everything(), whitened.description)
    assert learning_curve(stored, tiny_data, **OPTIONS)["accuracy"] == by_itself["accuracy"]


def test_the_data_sets_normalisation_can_be_asked_for(tiny_data: RealData, whitened: RealData) -> None:
    teacher, plain = (RealSubset.all(tiny_data.train, data.description) for data in (whitened, tiny_data))
    options = OPTIONS | {"normalisation": "data"}
    unwhitened, expected = learning_curve(teacher, tiny_data, **options), learning_curve(plain, tiny_data, **OPTIONS)
    assert unwhitened["normalisation"] == "data"
    assert unwhitened["accuracy"]["mean"] == pytest.approx(expected["accuracy"]["mean"], abs=0.04)
    # and whitened real images for one that is not
    shown = learning_curve(plain, whitened, **OPTIONS)
    assert shown["accuracy"]["mean"] == pytest.approx(
        learning_curve(teacher, tiny_data, **OPTIONS)["accuracy"]["mean"], abs=0.04
    )


def test_whose(tiny_data: RealData, whitened: RealData) -> None:
    teacher, plain = (RealSubset.all(tiny_data.train, data.description) for data in (whitened, tiny_data))
    assert [whose_normalisation("auto", teacher, data) for data in (tiny_data, whitened)] == ["teacher", "data"]
    assert [whose_normalisation("auto", plain, data) for data in (tiny_data, whitened)] == ["data", "data"]
    assert whose_normalisation("teacher", plain, whitened) == "teacher"
    with pytest.raises(UserError, match="normalisation is 'zca'"):
        whose_normalisation("zca", plain, tiny_data)


def test_there_is_no_one_black_in_whitened_images(whitened: RealData) -> None:
    assert torch.equal(black(whitened.description.normalisation), torch.zeros(1))
