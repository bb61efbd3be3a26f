"""Judging a teacher that promises privacy without looking at the images that it protects."""

from __future__ import annotations

from typing import Any

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.json_file import fraction, size
from gendistill.privacy.promise import KEY, sentence
from gendistill.privacy.stand_in import without_training
from gendistill.spelling import judging_option
from gendistill.teacher.base import Teacher

RATE = 0.01
"""The rate of learners where none is named: that of the condensation papers; none is chosen on private images."""


def is_private(teacher: Teacher) -> bool:
    """Return whether a teacher's file promises privacy."""
    return teacher.noted(KEY, dict) is not None


def spent(teacher: Teacher) -> dict[str, Any] | None:
    """Return ``epsilon``, ``delta`` and the kind of ``sums`` that a private teacher's file says; else None."""
    noted = teacher.noted(KEY, dict)
    calls = None if noted is None else noted.get("calls")
    if noted is None or not (size(noted.get("epsilon")) and fraction(noted.get("delta"))):
        return None
    first = calls[0] if isinstance(calls, list) and calls and isinstance(calls[0], dict) else {}
    sums = str(first.get("purpose", "sums"))
    return {"epsilon": float(noted["epsilon"]), "delta": float(noted["delta"]), "sums": sums}


def notes(teacher: Teacher) -> list[str]:
    """Return what a reader of results should know of a private teacher, the promise first."""
    if not is_private(teacher):
        return []
    return [
        sentence(teacher.metadata[KEY]),
        "results tell of the real images that they were measured on: show accuracy on test images only where these may "
        "be shown, and nothing that was measured on training images",
    ]


def may_see(teacher: Teacher, data: RealData, *, all_of_it: bool = False) -> RealData:
    """Return the data that evaluations of a teacher look at: of a private one the test images alone.

    Args:
        teacher: The teacher.
        data: The real data.
        all_of_it: Whether training images were asked for, as fidelity does.
    """
    return without_training(data) if is_private(teacher) and not all_of_it else data


def without_choice(teacher: Teacher, rate: Any) -> Any:
    """Return the learning rate with which nothing is chosen on validation images, for a private teacher.

    Whoever trains learners to judge a teacher asks for it: :func:`gendistill.evaluation.learning.learning_curve`.

    Args:
        teacher: Any teacher; of one that is not private the rate stays what it is.
        rate: As it was asked for; None: nothing was said.

    Raises:
        UserError: Several rates are to be tried.
    """
    if not is_private(teacher):
        return rate
    if rate is None:
        return "teacher" if teacher.learning_rates is not None else RATE
    if not isinstance(rate, str | int | float):
        rate = rate[0] if len(rate) == 1 else "grid"
    if rate == "grid":
        raise UserError(
            "several learning rates are to be tried, of which the validation images choose one, and they are private, "
            f"too; give one number for lr, such as {RATE}"
        )
    return rate


def require_test(teacher: Teacher, split: str) -> None:
    """Refuse to measure learners of a private teacher on other images than the test images.

    Raises:
        UserError: Another split was asked for.
    """
    if split != "test" and is_private(teacher):
        raise UserError(
            f"split is '{split}', and what learners of a private teacher reach on training or validation images tells "
            f"of these, which are private; measure on test images ({judging_option('split')} test)"
        )


def require_public(teacher: Teacher, what: str) -> None:
    """Refuse what chooses by validation images, for a private teacher.

    Args:
        teacher: Any teacher.
        what: What is chosen, and by what: the beginning of a sentence.

    Raises:
        UserError: The teacher is private.
    """
    if is_private(teacher):
        raise UserError(
            f"{what}, and those beside the images that this teacher protects are private, too: the choice would cost "
            "budget that nobody counts; choose with a teacher of public images that look alike"
        )
