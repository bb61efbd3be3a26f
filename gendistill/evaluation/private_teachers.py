"""Judging a teacher that promises privacy without looking at the images that it protects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.privacy.promise import KEY, sentence
from gendistill.privacy.stand_in import without_training
from gendistill.teacher.base import Teacher

RATE = 0.01
"""The rate of learners where none is named: that of the condensation papers; none is chosen on private images."""


def is_private(teacher: Teacher) -> bool:
    """Return whether a teacher's file promises privacy."""
    return teacher.noted(KEY, dict) is not None


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


def without_choice(teacher: Teacher, learning: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options of learning under which nothing is chosen on validation images, for a private teacher.

    Raises:
        UserError: Several rates are to be tried.
    """
    if not is_private(teacher):
        return learning
    rate = learning.get("lr")
    if rate is None:
        return {**learning, "lr": "teacher" if teacher.learning_rates is not None else RATE}
    if rate == "grid" or not isinstance(rate, str | int | float):
        raise UserError(
            "several learning rates are to be tried, of which the validation images choose one, and they are private, "
            f"too; give one number for lr, such as {RATE}"
        )
    return learning
