"""The learning rates that an evaluation tries: fixed ones with a schedule, and those that a teacher learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.settings import LEARNED
from gendistill.teacher.base import Teacher
from gendistill.teacher.subset import shows_real_images

GRID = (0.01, 0.03, 0.1, 0.3)
"""The rates for SGD that are tried when none is named."""
ADAM_GRID = (0.0003, 0.001, 0.003, 0.01)
SCHEDULES = ("constant", "cosine", "half-cosine", "step", "two-steps", "halving", "one-cycle")
RISE = 0.3
"""Share of a one-cycle training in which the rate rises, torch's default."""
START, END = 1 / 25, 1e-4
"""First and last rate of one cycle as fractions of the highest: 0.0004 and 1e-6 for 0.01, as in Bradley 2020."""
OF_REAL_IMAGES = 0.01
"""What ``learned`` is for real images, which have learned none: the rate of the condensation papers."""
Rate = float | str
Momentum = float | Sequence[float]


@dataclass(frozen=True)
class Candidate:
    """One way to train a learner.

    Attributes:
        name: The rate, ``"teacher"`` or ``"learned"``.
        rates: Step size of every update.
        momenta: Momentum of every update (SGD only).
        weight_decay: Factor of the weights that is added to their gradient.
    """

    name: Rate
    rates: tuple[float, ...]
    momenta: tuple[float, ...]
    weight_decay: float


def schedule_factor(schedule: str, step: int, total: int) -> float:
    """Return what a rate is multiplied by at one update.

    Args:
        schedule: ``constant``; ``cosine``: from 1 down towards 0 at the last update; ``step``: 0.1 in the second half;
            ``one-cycle``: from 1/25 up to 1 and down to 1e-4, both along a cosine, as torch's ``OneCycleLR``.
            ``half-cosine``: from 1 down towards 1/2, half as far along that cosine (RDED). ``two-steps``: a fifth from
            two thirds on, and a fifth of that from five sixths on (IDC). ``halving``: half as much from each fifth
            on, 1/16 in the last (NCFM).
        step: Updates made so far, 0..total-1.
        total: Updates of the whole training.

    Raises:
        UserError: The schedule is unknown.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * step / total))
    if schedule == "step":
        return 0.1 if 2 * step >= total else 1.0
    if schedule == "half-cosine":
        return 0.5 * (1.0 + math.cos(math.pi * step / total / 2.0))
    if schedule == "two-steps":
        return 0.2 ** ((3 * step >= 2 * total) + (6 * step >= 5 * total))
    if schedule == "halving":
        return 0.5 ** (5 * step // total)
    if schedule == "one-cycle":
        return _cycle(START, 1.0, END, step, total)
    raise UserError(
        f"unknown schedule '{schedule}'; {did_you_mean(schedule, SCHEDULES)}choose among: {', '.join(SCHEDULES)}"
    )


def momentum_schedule(momentum: Momentum, schedule: str, total: int) -> tuple[float, ...]:
    """Return SGD's momentum at every update.

    Args:
        momentum: One number in [0, 1) for all updates, or, with the schedule ``one-cycle``, the lowest and the highest:
            it then falls while the rate rises and rises while it falls, as torch's ``OneCycleLR`` has it by default.
        schedule: Name of the rate's schedule.
        total: Updates of the whole training.

    Raises:
        UserError: A number out of range, or two numbers without a cycle.
    """
    if isinstance(momentum, int | float):
        low = high = float(momentum)
    elif len(momentum) == 2 and schedule == "one-cycle":
        low, high = (float(one) for one in momentum)
    else:
        raise UserError(
            f"momentum is {list(momentum)}; give one number, or with schedule one-cycle the lowest and the highest"
        )
    if not 0.0 <= low <= high < 1.0:
        raise UserError(f"momentum is {momentum}, it must lie in [0, 1), the lower of two first")
    if low == high:
        return (low,) * total
    return tuple(_cycle(high, low, high, step, total) for step in range(total))


def _cycle(start: float, peak: float, end: float, step: int, total: int) -> float:
    """Return the value at an update of what goes from start to peak and on to end, along half a cosine each way."""
    turn = RISE * total - 1  # as in torch; not a whole number as a rule
    if turn > 0 and step <= turn:
        return _along(start, peak, step / turn)
    return _along(peak, end, (step - turn) / (total - 1 - turn))


def _along(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2.0 * (1.0 + math.cos(math.pi * share))


def candidates(
    lr: Rate | Sequence[Rate] | None,
    teacher: Teacher,
    total: int,
    *,
    optimizer: str = "sgd",
    momentum: Momentum = 0.9,
    weight_decay: float = 5e-4,
    schedule: str = "constant",
) -> list[Candidate]:
    """Return every way to train that an evaluation compares on the validation split.

    Args:
        lr: A rate; ``"grid"`` (:data:`GRID` for SGD); ``"teacher"``: the rates, and momenta if any, that the teacher
            learned, taken by plain SGD without weight decay or schedule, which is what they were learned for;
            ``"learned"``: :func:`learned_rate` as a number, with momentum, decay and schedule, as MTT evaluates; a list
            of any of these; or None: the teacher's where it has some and the optimiser is SGD, otherwise the grid.
        teacher: The teacher.
        total: Updates of the whole training, at least 0.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        momentum: SGD's, for rates that are not the teacher's; see :func:`momentum_schedule`.
        weight_decay: Not negative; for rates that are not the teacher's.
        schedule: See :func:`schedule_factor`.

    Raises:
        UserError: A value out of range, no rate at all, or the teacher's rates where it has none.
    """
    if not weight_decay >= 0.0:
        raise UserError(f"weight_decay is {weight_decay}; give a number of at least 0")
    schedule_factor(schedule, 0, 1)
    momenta = momentum_schedule(momentum, schedule, total)
    wanted: list[Rate] = []
    grid = GRID if optimizer == "sgd" else ADAM_GRID
    if lr is None:
        lr = "teacher" if teacher.learning_rates is not None and optimizer == made_for_optimizer(teacher) else "grid"
    for one in [lr] if isinstance(lr, str | float | int) else lr:
        wanted += list(grid) if one == "grid" else [one]
    if not wanted:
        raise UserError("no learning rate was given; give at least one, or leave lr out")
    made = []
    for one in dict.fromkeys(wanted):
        if one == "teacher":
            made.append(_teachers(teacher, total, optimizer))
            continue
        try:
            rate = _learned(teacher, optimizer) if one == LEARNED else float(one)
        except ValueError:
            rate = math.nan
        if not 0.0 < rate < math.inf:
            raise UserError(
                f"the learning rate {one!r} is not allowed; give a positive number, 'teacher', '{LEARNED}' or 'grid'"
            )
        rates = tuple(rate * schedule_factor(schedule, step, total) for step in range(total))
        # Real images, which have learned none, are trained at a number like any other.
        name = LEARNED if one == LEARNED and teacher.learning_rates is not None else rate
        made.append(Candidate(name, rates, momenta, weight_decay))
    return made


def learned_rate(teacher: Teacher) -> float | None:
    """Return the one rate that stands for what a teacher learned: its only one, or the last of several.

    Real images have learned none and are given :data:`OF_REAL_IMAGES`, so that they can stand beside a teacher that is
    judged at its own rate; for any other teacher without learned rates it is None.
    """
    if teacher.learning_rates is not None:
        return float(teacher.learning_rates[-1])
    return OF_REAL_IMAGES if shows_real_images(teacher) else None


def _learned(teacher: Teacher, optimizer: str) -> float:
    """Return the teacher's one rate, or say why there is none to train with."""
    rate = learned_rate(teacher)
    if rate is None:
        raise UserError(
            f"this teacher learned no learning rate, which '{LEARNED}' trains with; give a number for lr (that of the "
            f"condensation papers is {OF_REAL_IMAGES}), or import the images with the rate that their authors found"
        )
    if teacher.learning_rates is not None:
        _check_made_for(teacher, optimizer)
    if not 0.0 < rate < math.inf:
        raise UserError(
            f"the teacher's learned rate is {rate:g}, with which nothing can be trained; give a positive number for lr"
        )
    return rate


def _teachers(teacher: Teacher, total: int, optimizer: str) -> Candidate:
    learned = teacher.schedules(total)
    if learned is None:
        raise UserError("this teacher learned no learning rates; give a number, a list of numbers or 'grid' for lr")
    _check_made_for(teacher, optimizer)
    return Candidate("teacher", tuple(learned[0]), tuple(learned[1]), 0.0)


def _check_made_for(teacher: Teacher, optimizer: str) -> None:
    made_for = made_for_optimizer(teacher)
    if optimizer != made_for:
        raise UserError(
            f"the teacher's learning rates are for {made_for}, not {optimizer}; choose {made_for}, or a number for lr"
        )


def made_for_optimizer(teacher: Teacher) -> str:
    """Return the optimiser that a teacher's learned rates are for."""
    return str(teacher.metadata.get("optimizer", "sgd"))
