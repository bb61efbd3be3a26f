"""What other kinds of learners learn from a teacher: a table across architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gendistill.class_names import timm_name
from gendistill.counter import Counter
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
        For each learner, the first one's first: ``name``, ``seen`` (whether the teacher says that it was made with
        learners of this kind) and :data:`KEPT` of its curve.

    Raises:
        UserError: See :func:`gendistill.evaluation.learning.learning_curve`.
    """
    curves = [first]
    for spec in learners:
        told = about(options.get("progress"), learner_name(spec))
        curves.append(learning_curve(teacher, data, **{**options, "learner": spec, "progress": told}))
    known = kinds_seen(teacher)
    found: list[dict[str, Any]] = plain(
        [
            {"name": learner_name(curve["learner"]), "seen": kind(curve["learner"]) in known}
            | {key: curve[key] for key in KEPT}
            for curve in curves
        ],
        strict=True,
    )
    return found


def about(progress: Callable[[int, int], None] | None, what: str) -> Callable[[int, int], None] | None:
    """Return what tells of other learners' progress, with their name where it can say one."""
    return progress.about(what) if isinstance(progress, Counter) else progress


def kinds_seen(teacher: Teacher) -> set[str]:
    """Return the kinds of learners that a teacher's file, for which nobody vouches, says that it was made with."""
    noted = teacher.metadata.get("learner")
    return {name for one in (noted if isinstance(noted, list) else [noted]) if (name := kind(one)) is not None}


def kind(spec: Any) -> str | None:
    """Return what tells one kind of learner from another, whatever its width: its class, of timm its model.

    Args:
        spec: A dotted path, or ``class_path`` and ``init_args``; of anything else the kind is not known.
    """
    path = spec.get("class_path") if isinstance(spec, Mapping) else spec
    if not isinstance(path, str):
        return None
    return timm_name(path, spec.get("init_args") if isinstance(spec, Mapping) else None) or path
