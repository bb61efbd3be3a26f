"""One teacher before all judges, those too that are asked for: what ``evaluate`` and ``compare`` give of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.architectures import about, other_learners
from gendistill.evaluation.continual import continual_learning
from gendistill.evaluation.ensemble import build_learner
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.private_teachers import is_private
from gendistill.evaluation.protocols import expand
from gendistill.evaluation.robust_scores import robust_scores
from gendistill.spelling import judging_option
from gendistill.teacher.base import Teacher


def judged(
    teacher: Teacher,
    data: RealData,
    *,
    path: str | Path | None = None,
    name: str | None = None,
    learning: Mapping[str, Any] | None,
    fidelity: Mapping[str, Any] | None,
    seed: int = 0,
    continual: int | None = None,
    robust: bool = False,
    others: Sequence[Any] = (),
) -> dict[str, Any]:
    """Judge one teacher.

    Args:
        teacher: The teacher.
        data: The real data that it stands for.
        path: The teacher's file, for the record.
        name: What a table calls it.
        learning: See :func:`gendistill.evaluation.evaluate.evaluate`.
        fidelity: See there.
        seed: See there.
        continual: Also learn the classes in so many stages, from the images kept of those seen so far.
        robust: Also measure DD-Ranking's scores.
        others: Further learners, each a spec, that are taught by it, too.

    Returns:
        The result of :func:`gendistill.evaluation.evaluate.evaluate`, with ``continual``, ``robust`` and
        ``architectures`` where they were asked for.

    Raises:
        UserError: The teacher does not belong to the data, or an option is not one.
    """
    if robust and is_private(teacher):
        raise UserError(
            f"robust scores ({judging_option('robust')}) train on all real training images, and those that "
            f"'{name or 'the teacher'}' protects are private; leave them out"
        )
    # A learner that does not take these images shall not be found out after the others were trained.
    for spec in others:
        build_learner(spec, data.description, seed)
    result = evaluate(teacher, data, path=path, name=name, learning=learning, fidelity=fidelity, seed=seed)
    if not (continual or robust or others):
        return result
    given = expand(learning or {}, data.description)
    if others:
        result["architectures"] = other_learners(teacher, data, result["learning"], others, given)
    if continual:
        told = given | {"progress": about(given.get("progress"), "continual learning")}
        result["continual"] = continual_learning(teacher, data, stages=continual, seed=seed, **told)
    if robust:
        told = given | {"progress": about(given.get("progress"), "robust scores")}
        result["robust"] = robust_scores(teacher, data, seed=seed, **told)
    return result
