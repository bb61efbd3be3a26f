from __future__ import annotations

import math

import pytest
import torch

from gendistill.errors import UserError
from gendistill.evaluation.rates import ADAM_GRID, GRID, candidates, schedule_factor
from gendistill.teacher import StoredImages


def teacher(tiny_data, **options):
    images = torch.zeros(3, 1, 8, 8)
    return StoredImages(images, torch.arange(3), tiny_data.description, **options)


def test_schedules_have_their_closed_forms():
    assert [schedule_factor("step", step, 5) for step in range(5)] == [1, 1, 1, 0.1, 0.1]
    assert [schedule_factor("constant", step, 5) for step in range(5)] == [1] * 5
    cosine = [schedule_factor("cosine", step, 4) for step in range(4)]
    assert cosine == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


def test_no_rate_means_the_grid_or_what_the_teacher_learned(tiny_data):
    assert [one.name for one in candidates(None, teacher(tiny_data), 4)] == list(GRID)
    assert [one.name for one in candidates(None, teacher(tiny_data), 4, optimizer="adam")] == list(ADAM_GRID)
    learned = teacher(tiny_data, learning_rates=torch.tensor([0.5, 0.25]), momenta=torch.tensor([0.0, 0.75, 0.5]))
    (only,) = candidates(None, learned, 5, schedule="step")
    # After the last learned rate a tenth of it; no schedule, no weight decay, which they were not learned with.
    assert only.name == "teacher"
    assert only.rates == pytest.approx((0.5, 0.25, 0.025, 0.025, 0.025))
    assert only.momenta == (0.0, 0.75, 0.5, 0.5, 0.5)
    assert only.weight_decay == 0
    assert [one.name for one in candidates(None, learned, 4, optimizer="adam")] == list(ADAM_GRID)


def test_teachers_rates_without_momenta_are_for_plain_sgd(tiny_data):
    (only,) = candidates("teacher", teacher(tiny_data, learning_rates=torch.tensor([0.5])), 3, momentum=0.9)
    assert only.momenta == (0.0, 0.0, 0.0)


def test_lists_mix_and_drop_doubles(tiny_data):
    learned = teacher(tiny_data, learning_rates=torch.tensor([0.5]))
    made = candidates(["teacher", 0.02, "grid", 0.02], learned, 2, schedule="step", momentum=0.5)
    assert [one.name for one in made] == ["teacher", 0.02, *GRID]
    assert made[1].rates == pytest.approx((0.02, 0.002))
    assert made[1].momenta == (0.5, 0.5)
    assert made[1].weight_decay == 5e-4


def test_no_updates_need_no_rates(tiny_data):
    assert candidates(0.1, teacher(tiny_data), 0)[0].rates == ()
    assert candidates("teacher", teacher(tiny_data, learning_rates=torch.tensor([0.5])), 0)[0].rates == ()


@pytest.mark.parametrize(
    ("lr", "options", "message"),
    [
        ("teacher", {}, "learned no learning rates"),
        ([], {}, "at least one"),
        (0.0, {}, "positive number"),
        (math.inf, {}, "positive number"),
        ("fast", {}, "'fast' is not allowed"),
        (0.1, {"schedule": "cosin"}, "did you mean 'cosine'"),
        (0.1, {"momentum": 1.0}, r"\[0, 1\)"),
        (0.1, {"weight_decay": -1.0}, "at least 0"),
    ],
)
def test_bad_values_are_explained(tiny_data, lr, options, message):
    with pytest.raises(UserError, match=message):
        candidates(lr, teacher(tiny_data), 2, **options)


def test_the_teachers_rates_are_not_for_adam(tiny_data):
    with pytest.raises(UserError, match="for sgd, not adam"):
        candidates("teacher", teacher(tiny_data, learning_rates=torch.tensor([0.5])), 2, optimizer="adam")
