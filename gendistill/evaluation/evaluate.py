"""All judges on one teacher: how well it teaches, how real it looks, what it costs."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from gendistill import __version__
from gendistill.data.classes import listed
from gendistill.data.fingerprint import PARTS, contents, fingerprint, split_fingerprint
from gendistill.data.real import RealData
from gendistill.data.recorded import remember
from gendistill.data.stacked import BASES
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation import private_teachers
from gendistill.evaluation.fidelity import fidelity as fidelity_scores
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.modes import point_modes
from gendistill.evaluation.parts import of, once
from gendistill.evaluation.private_teachers import may_see
from gendistill.evaluation.protocols import OPTIONS, SUMMARIES, expand
from gendistill.evaluation.scores import at_chance, chance_limit
from gendistill.evaluation.stacked_modes import stacked_modes
from gendistill.making import making
from gendistill.plain import plain
from gendistill.teacher.base import Teacher
from gendistill.teacher.fit import KEY as CLASSES
from gendistill.teacher.fit import fitted
from gendistill.teacher.generator import GeneratorTeacher
from gendistill.teacher.identity import checksum
from gendistill.teacher.subset import is_everything
from gendistill.words import counted

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
        Plain values that JSON can hold, NaN as None: ``name`` (if given), ``teacher`` (``kind``, ``path``,
        ``checksum`` (:func:`gendistill.teacher.identity.checksum`), ``images``,
        ``decoded_images``, ``bytes`` and its parts (:meth:`gendistill.teacher.Teacher.budget`), ``everything``
        if it is all real training images, whatever it is called, and ``making``, what its file says that making it took
        (:func:`gendistill.making.making`)), ``dataset``,
        ``dataset_fingerprint`` (:func:`gendistill.data.fingerprint.fingerprint`), ``test_fingerprint``, that of the
        test images alone, ``data``, how it was loaded (:func:`gendistill.data.recorded.remember`), ``privacy`` (of a
        private teacher: ``epsilon``, ``delta`` and of
        which ``sums``), ``software`` (versions),
        ``learning``, ``fidelity``, ``modes`` (of points and stacked digits;
        :func:`gendistill.evaluation.modes.point_modes`), ``budget`` (that of the teacher, ``learner_updates``) and
        ``notes``: sentences on what a reader of the numbers should know.

    Raises:
        UserError: The teacher does not belong to the data, or an option is not one.
    """
    teacher = fitted(teacher, data.description)
    notes = teacher_notes(teacher, data)
    data = may_see(teacher, data, all_of_it=fidelity is not None)
    found, loaded = fingerprint(data), remember(data)
    if teacher.description.embedding is not None:
        # A text's words are seen as the teacher saw them, should another machine have learned other last digits.
        data = data.with_normalisation(teacher.description.normalisation)
    budget = teacher.budget()
    check_options(learning, fidelity)
    named = None if learning is None else learning.get("protocol")
    learning = None if learning is None else expand(learning, data.description)
    # Fidelity first: it is quick, so a misspelt extractor does not cost the hours that learning may take.
    judged_fidelity = None if fidelity is None else _fidelity(teacher, data, {"seed": seed} | dict(fidelity))
    modes = _modes(teacher, data, seed)
    judged_learning = None if learning is None else {"protocol": named} | learning_curve(teacher, data, **learning)
    result: dict[str, Any] = {} if name is None else {"name": name}
    result |= {
        "teacher": {
            "kind": teacher.kind,
            "path": None if path is None else str(path),
            "checksum": checksum(teacher),
            **{name: value for name, value in budget.items() if name != "distinct_images"},
            **({"everything": True} if is_everything(teacher, data.train) else {}),
            **({} if (made := making(teacher)) is None else {"making": made}),
        },
        "dataset": data.description.name,
        "dataset_fingerprint": found,
        "test_fingerprint": split_fingerprint(data.test),
        **({} if loaded is None else {"data": loaded}),
        **({} if (cost := private_teachers.spent(teacher)) is None else {"privacy": cost}),
        "software": {"gendistill": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
        "learning": judged_learning,
        "fidelity": judged_fidelity,
        **({} if modes is None else {"modes": modes}),
        "budget": budget | {"learner_updates": None if judged_learning is None else judged_learning["learner_updates"]},
        "notes": notes + learning_notes(judged_learning, data),
    }
    plain_result: dict[str, Any] = plain(result, strict=True)
    return plain_result


def _modes(teacher: Teacher, data: RealData, seed: int) -> dict[str, Any] | None:
    """Return the modes that are captured of data whose modes are known, None of other data."""
    if data.description.cloud is not None:
        return point_modes(teacher, data, seed=seed)
    return stacked_modes(teacher, data, seed=seed) if data.description.name in BASES else None


def _fidelity(teacher: Teacher, data: RealData, options: dict[str, Any]) -> dict[str, Any]:
    """Return the fidelity scores, those that are kept where there are some."""
    found: dict[str, Any] = once(
        "fidelity",
        lambda: {"asked": options | {"extractor": str(options.get("extractor"))}, **of(teacher, data)},
        lambda place: fidelity_scores(teacher, data, **options),
    )
    return found


def teacher_notes(teacher: Teacher, data: RealData) -> list[str]:
    """Return sentences on a teacher that was fitted to the data: its classes, its data then, how its run ended."""
    notes = private_teachers.notes(teacher)
    if (fit := teacher.noted(CLASSES, dict)) and fit.get("note"):
        notes.append(str(fit["note"]))
    made_from = teacher.noted("data", dict)
    if made_from and teacher.description.name == data.description.name:
        now = contents(data)
        differ = [words for part, words in PARTS.items() if part in made_from and made_from[part] != now[part]]
        if differ:
            whose = f"'{data.description.name}'"
            notes.append(
                f"the {' and '.join(differ)} images of {whose} are other ones than when the teacher was made; images "
                "that it was made from may be among those that judge it"
            )
    if isinstance(teacher, GeneratorTeacher) and teacher.classes is not None:
        names = teacher.description.class_names
        unknown = [name for kind, name in enumerate(names) if kind not in teacher.classes]
        notes.append(f"the generator has learned no images of {listed(unknown)}, and shows learners none")
    noted = [str(warning) for warning in teacher.noted("warnings", list) or ()]
    fault = teacher.rates_at_fault()
    if fault is not None and not any(one.startswith(fault) for one in noted):
        noted.append(fault)
    return notes + [f"of the teacher: {one}" for one in noted]


def learning_notes(learning: Mapping[str, Any] | None, data: RealData) -> list[str]:
    """Return sentences on a learning curve: classes without images, and accuracy that guessing would reach."""
    if learning is None:
        return []
    notes, sizes, split = [], learning["class_sizes"], learning["split"]
    names = data.description.class_names
    if missing := [name for name, size in zip(names, sizes, strict=True) if not size]:
        notes.append(
            f"the {split} split has no image of {listed(missing)}; their accuracy is not known, and the balanced "
            "accuracy is that of the other classes"
        )
    if at_chance(learning):
        balanced, limit = learning["accuracy"]["balanced"]["mean"][-1], chance_limit(sizes)
        if limit >= 1:  # nothing could be above it, so that it says nothing of the teacher
            return [
                *notes,
                f"the {sum(sizes):,} images of the {split} split are too few to tell learning from guessing",
            ]
        notes.append(
            f"after {counted(learning['updates'][-1], 'update')} accuracy is at chance: balanced over the classes "
            f"{100 * balanced:.1f} %, guessing reaches up to {100 * limit:.1f} % on so many images"
        )
    return notes


def check_options(learning: Mapping[str, Any] | None, fidelity: Mapping[str, Any] | None) -> None:
    """Refuse options that the evaluators do not have.

    Args:
        learning: As for :func:`evaluate`.
        fidelity: As for :func:`evaluate`.

    Raises:
        UserError: Names the option and the nearest right one.
    """
    # The first two are the teacher and the data.
    of_fidelity = tuple(inspect.signature(fidelity_scores).parameters)[2:]
    judges = (("learning", learning, ("protocol", *OPTIONS)), ("fidelity", fidelity, of_fidelity))
    for what, options, accepted in judges:
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
