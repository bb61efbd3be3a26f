from __future__ import annotations

import math

import pytest
import torch

from gendistill.errors import UserError
from gendistill.evaluation.continual import remembered
from gendistill.evaluation.rates import (
    ADAM_GRID,
    GRID,
    OF_REAL_IMAGES,
    SCHEDULES,
    candidates,
    learned_rate,
    momentum_schedule,
    schedule_factor,
)
from gendistill.teacher import RealSubset, StoredImages
from gendistill.teacher.coreset import coreset


def teacher(tiny_data, **options):
    images = torch.zeros(3, 1, 8, 8)
    return StoredImages(images, torch.arange(3), tiny_data.description, **options)


def test_schedules_have_their_closed_forms():
    assert [schedule_factor("step", step, 5) for step in range(5)] == [1, 1, 1, 0.1, 0.1]
    assert [schedule_factor("constant", step, 5) for step in range(5)] == [1] * 5
    cosine = [schedule_factor("cosine", step, 4) for step in range(4)]
    assert cosine == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


MILESTONES = {
    "step": ([(1, 2)], 0.1),
    "two-steps": ([(2, 3), (5, 6)], 0.2),
    "halving": ([(part, 5) for part in (1, 2, 3, 4)], 0.5),
}
"""Of a whole training, as fractions, and what the rate is multiplied by at each."""


def torchs(schedule: str, total: int) -> tuple[list[float], list[float]]:
    """Learning rate and momentum of every update as torch's scheduler sets them."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01, momentum=0.9)
    scheduler: torch.optim.lr_scheduler.LRScheduler
    if schedule == "one-cycle":
        # The first rate 0.0004 is torch's default; the last, 1e-6, is not.
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=total, final_div_factor=400)
    elif schedule == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=total)
    elif schedule == "half-cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=2 * total)
    else:
        places, gamma = MILESTONES[schedule]
        milestones = [-(-total * part // whole) for part, whole in places]
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=gamma)
    rates, momenta = [], []
    for step in range(total):
        rates.append(optimiser.param_groups[0]["lr"])
        momenta.append(optimiser.param_groups[0]["momentum"])
        optimiser.step()
        if step + 1 < total:
            scheduler.step()
    return rates, momenta


@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 40, 1001])
@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "constant"])
def test_schedules_are_those_of_torch(tiny_data, schedule, total):
    momentum = (0.85, 0.95) if schedule == "one-cycle" else 0.9
    (made,) = candidates(0.01, teacher(tiny_data), total, schedule=schedule, momentum=momentum)
    rates, momenta = torchs(schedule, total)
    assert made.rates == pytest.approx(rates, rel=1e-9, abs=1e-12)
    assert made.momenta == pytest.approx(momenta, rel=1e-9)


def test_one_cycle_has_the_published_ends():
    rates = [0.01 * schedule_factor("one-cycle", step, 101) for step in range(101)]
    assert rates[0] == pytest.approx(0.0004) and rates[-1] == pytest.approx(1e-6)
    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    assert rates.index(max(rates)) in (29, 30)


def test_one_number_is_a_momentum_for_all_updates():
    assert momentum_schedule(0.9, "one-cycle", 3) == (0.9,) * 3
    assert momentum_schedule((0.5, 0.5), "one-cycle", 2) == (0.5,) * 2


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


def test_the_learned_rate_is_a_number_with_the_momentum_decay_and_schedule_that_are_asked_for(tiny_data):
    for rates in ([0.5], [0.1, 0.5]):  # of several the last
        learned = teacher(tiny_data, learning_rates=torch.tensor(rates), momenta=torch.tensor([0.3]))
        for options in ({}, {"schedule": "step", "momentum": 0.9, "weight_decay": 1e-3}):
            (own,), (fixed,) = (candidates(lr, learned, 6, **options) for lr in ("learned", 0.5))
            assert own.name == "learned"
            assert (own.rates, own.momenta, own.weight_decay) == (fixed.rates, fixed.momenta, fixed.weight_decay)


def test_real_images_have_learned_nothing_and_are_known_as_real_however_they_were_chosen(tiny_data):
    chosen = coreset(tiny_data, "kmeans-mean", 2, features="pixels")
    for real in (RealSubset.all(tiny_data.train, tiny_data.description), chosen, remembered(chosen, [0, 2])):
        (made,) = candidates("learned", real, 2)
        assert (made.name, made.rates) == (OF_REAL_IMAGES, (OF_REAL_IMAGES,) * 2)
    assert learned_rate(teacher(tiny_data)) is None


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
        ("learned", {}, "learned no learning rate, which 'learned' trains with; give a number for lr"),
        ([], {}, "at least one"),
        (0.0, {}, "positive number"),
        (math.inf, {}, "positive number"),
        ("fast", {}, "'fast' is not allowed"),
        (0.1, {"schedule": "cosin"}, "did you mean 'cosine'"),
        (0.1, {"momentum": 1.0}, r"\[0, 1\)"),
        (0.1, {"momentum": (0.8, 0.9)}, "schedule one-cycle"),
        (0.1, {"momentum": (0.9, 0.8), "schedule": "one-cycle"}, "the lower of two first"),
        (0.1, {"weight_decay": -1.0}, "at least 0"),
    ],
)
def test_bad_values_are_explained(tiny_data, lr, options, message):
    with pytest.raises(UserError, match=message):
        candidates(lr, teacher(tiny_data), 2, **options)


def test_a_learned_rate_of_nothing_is_refused(tiny_data):
    with pytest.raises(UserError, match="nothing can be trained"):
        candidates("learned", teacher(tiny_data, learning_rates=torch.tensor([0.0])), 2)


@pytest.mark.parametrize("lr", ["teacher", "learned"])
def test_the_teachers_rates_are_not_for_adam(tiny_data, lr):
    with pytest.raises(UserError, match="for sgd, not adam"):
        candidates(lr, teacher(tiny_data, learning_rates=torch.tensor([0.5])), 2, optimizer="adam")
