"""All judges on one teacher: how well it teaches, how real it looks, what it costs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from gendistill import __version__
from gendistill.data.description import check_fits
from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.fidelity import fidelity as fidelity_scores
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.protocols import SUMMARIES, expand
from gendistill.plain import plain
from gendistill.teacher.base import Teacher
from gendistill.teacher.subset import is_everything

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def evaluate(
    teacher: Teacher,
    data: RealData,
    *,
    path: str | Path | None = None,
    name: str | None = None,
    learning: Mapping[str, Any] | None = NO_OPTIONS,
    fidelity: Mapping[str, Any] | None = NO_OPTIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge one teacher; the result goes unchanged to the terminal, ``results.json``, TensorBoard and the report.

    Args:
        teacher: The teacher.
        data: The real data that it stands for.
        path: The teacher's file, for the record.
        name: What a table calls it.
        learning: Options of :func:`gendistill.evaluation.learning.learning_curve`, and ``protocol``: the name of one in
            :mod:`gendistill.evaluation.protocols`, whose options they then override. None leaves learning out.
        fidelity: Options of :func:`gendistill.evaluation.fidelity.fidelity`; None leaves fidelity out.
        seed: Seed of every draw of the fidelity scores, unless the options name one.

    Returns:
        Plain values that JSON can hold, NaN as None: ``name`` (if given), ``teacher`` (``kind``, ``path``, ``images``,
        ``bytes``, and ``everything`` if it is all real training images, whatever it is called), ``dataset``,
        ``software`` (versions), ``learning``, ``fidelity``, ``budget`` (``bytes``, ``images``, ``distinct_images``,
        ``learner_updates``).

    Raises:
        UserError: The teacher does not belong to the data, or an option is not one.
    """
    check_fits(teacher.description, data.description)
    if teacher.description.embedding is not None:
        # A text's words are seen as the teacher saw them, should another machine have learned other last digits.
        data = data.with_normalisation(teacher.description.normalisation)
    budget = teacher.budget()
    check_options(learning, fidelity)
    named = None if learning is None else learning.get("protocol")
    learning = None if learning is None else expand(learning, data.description)
    # Fidelity first: it is quick, so a misspelt extractor does not cost the hours that learning may take.
    judged_fidelity = None if fidelity is None else fidelity_scores(teacher, data, **({"seed": seed} | dict(fidelity)))
    judged_learning = None if learning is None else {"protocol": named} | learning_curve(teacher, data, **learning)
    result: dict[str, Any] = {} if name is None else {"name": name}
    result |= {
        "teacher": {
            "kind": teacher.kind,
            "path": None if path is None else str(path),
            "images": budget["images"],
            "bytes": budget["bytes"],
            **({"everything": True} if is_everything(teacher, data.train) else {}),
        },
        "dataset": data.description.name,
        "software": {"gendistill": __version__, "torch": str(torch.__version__)},
        "learning": judged_learning,
        "fidelity": judged_fidelity,
        "budget": budget | {"learner_updates": None if judged_learning is None else judged_learning["learner_updates"]},
    }
    plain_result: dict[str, Any] = plain(result, strict=True)
    return plain_result


def check_options(learning: Mapping[str, Any] | None, fidelity: Mapping[str, Any] | None) -> None:
    """Refuse options that the evaluators do not have.

    Args:
        learning: As for :func:`evaluate`.
        fidelity: As for :func:`evaluate`.

    Raises:
        UserError: Names the option and the nearest right one.
    """
    judges: tuple[tuple[str, Callable[..., Any], Mapping[str, Any] | None, tuple[str, ...]], ...] = (
        ("learning", learning_curve, learning, ("protocol",)),
        ("fidelity", fidelity_scores, fidelity, ()),
    )
    for what, judge, options, more in judges:
        accepted = [*more, *list(inspect.signature(judge).parameters)[2:]]  # the first two: the teacher and the data
        for option in options or ():
            if option not in accepted:
                raise UserError(
                    f"{what} has no option '{option}'; {did_you_mean(option, accepted)}it takes: {', '.join(accepted)}"
                )
    named = (learning or {}).get("protocol")
    if named is not None and named not in SUMMARIES:
        raise UserError(
            f"there is no protocol '{named}'; {did_you_mean(str(named), SUMMARIES)}choose among: {', '.join(SUMMARIES)}"
        )
