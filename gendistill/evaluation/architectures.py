"""What other kinds of learners learn from a teacher: a table across architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.data.real import RealData
from gendistill.evaluation.learning import learner_name, learning_curve
from gendistill.plain import plain
from gendistill.teacher.base import Teacher
from gendistill.untrusted import Spec

KEPT = ("learner", "parameters", "updates", "accuracy", "lr", "seconds")


def other_learners(
    teacher: Teacher, data: RealData, first: Mapping[str, Any], learners: Sequence[Spec], options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Train other learners as the first ones were.

    Args:
        teacher: What teaches.
        data: The real data that judges.
        first: What :func:`gendistill.evaluation.learning.learning_curve` returned for the first learner.
        learners: The others.
        options: Those of that call; only the learner is another.

    Returns:
        For each learner, the first one's first: ``name`` and :data:`KEPT` of its curve.

    Raises:
        UserError: See :func:`gendistill.evaluation.learning.learning_curve`.
    """
    curves = [first, *(learning_curve(teacher, data, **{**options, "learner": spec}) for spec in learners)]
    found: list[dict[str, Any]] = plain(
        [{"name": learner_name(curve["learner"]), **{key: curve[key] for key in KEPT}} for curve in curves], strict=True
    )
    return found
