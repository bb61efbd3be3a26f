"""When groups exchange, and their rates around it: against lists written by hand."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.errors import UserError
from trainers.regrouping import Regrouping, Schedule, pairing

FIXED: dict[str, Any] = {"period_a": "fixed", "first_interval": 10, "interval": 8, "interval_growth": 1.0, "window": 2}


def run(regrouping: Regrouping, steps: range, loss: Any = lambda step: 1.0) -> tuple[list[int], list[float]]:
    """Return the steps of the exchanges and the first group's factor after each step."""
    factors = []
    for step in steps:
        regrouping.after(step, torch.tensor([float(loss(step))] * regrouping.groups))
        factors.append(regrouping.factors[0])
    return regrouping.exchanges, factors


def test_the_rates_around_exchanges_are_those_written_by_hand() -> None:
    # alpha = 2, delta = 0.5, cap 2: exchanges at 10, 18, 26; of the first window the upper half alone.
    schedule = Schedule(**FIXED, rate_growth=0.5, rate_cap=2.0, smoothing=0.0, period_c="continue")
    exchanges, factors = run(Regrouping(schedule, 2), range(1, 31))
    assert exchanges == [10, 18, 26]
    up = [1.5, 2.0, 2.0, 2.0, 2.0]
    assert factors == [*[1.0] * 9, 1.5, 2.0, 2.0, *[1.0] * 3, *up, *[1.0] * 3, *up, 1.0, 1.0]


def test_a_loss_that_moves_keeps_its_rate() -> None:
    schedule = Schedule(**FIXED, rate_growth=0.5, smoothing=0.0, variation=0.05)
    _, factors = run(Regrouping(schedule, 2), range(1, 31), lambda step: 1.06**step)
    assert set(factors) == {1.0}
    _, factors = run(Regrouping(schedule, 2), range(1, 31), lambda step: -(1.04**step))  # of either sign
    assert max(factors) > 1.0


def test_the_interval_grows_up_to_its_end() -> None:
    schedule = Schedule(**FIXED | {"interval_growth": 1.5}, longest_interval=20, period_c="continue")
    exchanges, _ = run(Regrouping(schedule, 2), range(1, 101))
    assert exchanges == [10, 18, 30, 48, 68, 88]  # 8, 12, 18, 20, 20


def test_intervals_in_epochs() -> None:
    schedule = Schedule(**FIXED | {"interval": 2, "first_interval": 3, "interval_unit": "epoch"}, period_c="continue")
    assert run(Regrouping(schedule, 2, epoch=5), range(1, 40))[0] == [15, 25, 35]


def test_a_plateau_ends_period_a_and_its_length_is_the_interval() -> None:
    schedule = Schedule(window=2, plateau_window=10, smoothing=0.0, interval_growth=1.0, period_c="continue")
    falls = lambda step: max(1.0 - 0.02 * step, 0.4)  # noqa: E731  stands still from 30 on
    assert run(Regrouping(schedule, 2), range(1, 125), falls)[0] == [40, 80, 120]
    late = Schedule(window=2, plateau_window=10, first_interval=25, period_c="continue", interval_growth=1.0)
    assert run(Regrouping(late, 2), range(1, 60), lambda step: 1.0 / step)[0] == [25, 50]


@pytest.mark.parametrize(("kind", "wanted"), [("stop", [10, 18]), ("freeze", [10, 18, 26, 46, 66]),
                                              ("continue", [10, 18, 26, 34, 42, 50, 58, 66])])  # fmt: skip
def test_period_c_begins_after_exchanges_without_gain(kind: Any, wanted: list[int]) -> None:
    schedule = Schedule(**FIXED, longest_interval=20, period_c=kind, patience=2)
    regrouping = Regrouping(schedule, 2)
    exchanges, factors = run(regrouping, range(1, 70))
    assert exchanges == wanted
    if kind == "freeze":
        assert set(factors[26:]) == {1.0}


@pytest.mark.parametrize("cut", [9, 11, 17, 19, 26])
def test_it_continues_in_the_middle_of_a_window(cut: int) -> None:
    schedule = Schedule(**FIXED, rate_growth=0.1)
    wave = lambda step: 1.0 + 0.01 * (step % 3)  # noqa: E731
    whole = Regrouping(schedule, 3)
    run(whole, range(1, 41), wave)
    first, second = Regrouping(schedule, 3), Regrouping(schedule, 3)
    run(first, range(1, cut), wave)
    second.load_state_dict(first.state_dict())
    run(second, range(cut, 41), wave)
    for name, value in whole.state_dict().items():
        other = second.state_dict()[name]
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, name


def test_one_group_and_no_interval_never_exchange() -> None:
    for regrouping in (Regrouping(Schedule(**FIXED), 1), Regrouping(Schedule(interval=0), 4)):
        assert run(regrouping, range(1, 50)) == ([], [1.0] * 49)


def test_derangements_are_uniform_and_nobody_keeps_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    found = Counter(tuple(pairing("derangement", 4, generator)) for _ in range(1800))
    every = [order for order in permutations(range(4)) if all(place != number for place, number in enumerate(order))]
    assert set(found) == set(every) and len(every) == 9
    assert max(abs(count - 200) for count in found.values()) < 60  # four standard deviations
    assert all(pairing("derangement", 2, generator) == [1, 0] for _ in range(10))
    assert pairing("cyclic", 3, generator) == [1, 2, 0] and pairing("derangement", 1, generator) == [0]
    assert set(map(tuple, (pairing("permutation", 2, generator) for _ in range(40)))) == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"intervall": 3}, "unknown key 'schedule.intervall'; did you mean"),
        ({"interval": 21}, "too short for windows of 10"),
        ({"interval": 300}, "above longest_interval"),
        ({"pairing": "swap"}, "choose one of derangement"),
        ({"interval_growth": 0.9}, "at least 1"),
        ({"smoothing": 1.0}, "in \\[0, 1\\)"),
        ({"plateau_window": 5}, "at least 22"),
        ({"patience": True}, "give a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Schedule.of(given)
