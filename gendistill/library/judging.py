"""Judging in a script or a notebook, by what ``gendistill evaluate`` and ``compare`` call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.commands.baselines import OF_CONDENSED_SETS, baselines
from gendistill.commands.compare import rank, rank_notes
from gendistill.commands.judge import learner_spec, short_name
from gendistill.commands.keeping import forget, keeping
from gendistill.commands.output import write_json
from gendistill.commands.report import grid_of
from gendistill.config.keywords import held
from gendistill.counter import Counter
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.ablation import judge_ablations
from gendistill.evaluation.evaluate import check_options
from gendistill.evaluation.fidelity import common_count
from gendistill.evaluation.judging import judged
from gendistill.evaluation.private_teachers import is_private
from gendistill.library.opening import DataLike, TeacherLike, data_of, load, reference_of
from gendistill.library.results import Comparison, Result
from gendistill.library.training import as_keyboard_interrupt
from gendistill.objects import full_paths
from gendistill.report.page import write_report
from gendistill.report.rows import told_apart
from gendistill.runs.device import choose_device
from gendistill.teacher.base import Teacher
from gendistill.teacher.subset import is_everything


def evaluate(
    teacher: TeacherLike,
    data: DataLike | None = None,
    *,
    protocol: str | None = None,
    learner: Any = None,
    seeds: int | Sequence[int] | None = None,
    learning: bool = True,
    fidelity: bool | Mapping[str, Any] | None = None,
    continual: int | None = None,
    robust: bool = False,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Result:
    """Judge one teacher: train fresh learners on it, test them on real images, compare its images with real ones.

    Args:
        teacher: A teacher, a run, or what names one; see :func:`gendistill.load`.
        data: The real data; None: what the teacher was made from.
        protocol: A published protocol, over which the options below are laid: ``condensation``, ``condensation-dsa``,
            ``shi-chen``, ...; None: the defaults of :class:`gendistill.evaluation.protocols.Protocol`.
        learner: A learner's class or name (``"ConvNet"``), its dotted path, or ``class_path`` and ``init_args``; None:
            the data set's own.
        seeds: Number of learners, or their seeds; None: 5.
        learning: Whether to measure how well it teaches.
        fidelity: Whether to measure how real it looks, or options of :func:`gendistill.evaluation.fidelity.fidelity`;
            None: yes, but not of a private teacher, for it compares with the images that this protects.
        continual: Also learn the classes in so many stages.
        robust: Also measure DD-Ranking's scores.
        name: What a table calls it; None: the name of its run or file.
        seed: Of random subsets and of the fidelity scores.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ...
        output: Write the result to this JSON file, and keep finished parts beside it until then: an interrupted call
            goes on from them.
        progress: Count learners' updates on stderr.
        **options: Options of learning, such as ``updates=[10, 100]``, ``lr=0.01``, ``epochs``, ``augment``; see
            :class:`gendistill.evaluation.protocols.Protocol`.

    Returns:
        The result.

    Raises:
        UserError: The teacher does not belong to the data, or an option is not one.
        KeyboardInterrupt: Ctrl-C; the sentence says what is kept.
    """
    asked = _learning(protocol, learner, seeds, device, progress, options) if learning else None
    real = data_of(teacher, data)
    with as_keyboard_interrupt(), keeping(output):
        opened = load(teacher, real, seed=seed)
        result = judged(
            opened,
            real,
            path=_path(teacher),
            name=name or _name(teacher),
            learning=asked,
            fidelity=_fidelity(fidelity, device, seed) if _looks(fidelity, opened) else None,
            seed=seed,
            continual=continual,
            robust=robust,
        )
        if output is not None:
            write_json(result, output)
            forget(output)
    return Result(result)


def compare(
    teachers: Mapping[str, TeacherLike] | Iterable[TeacherLike],
    data: DataLike | None = None,
    *,
    baselines: bool | None = None,
    ablate_rates: bool = False,
    rank_at: int | None = None,
    protocol: str | None = None,
    learner: Any = None,
    seeds: int | Sequence[int] | None = None,
    fidelity: bool | Mapping[str, Any] | None = None,
    continual: int | None = None,
    robust: bool = False,
    seed: int = 0,
    device: str = "auto",
    output: str | Path | None = None,
    report: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Comparison:
    """Judge several teachers with the same learners, seeds and budgets, and rank them.

    Args:
        teachers: Teachers, runs, results of earlier evaluations or what names a teacher, by the name in the table; or
            several of them without names.
        data: The real data; None: what the first teacher was made from.
        baselines: Also judge as many real images of each class as the teachers store: random ones, herding and
            k-center; None: with a protocol of condensed sets.
        ablate_rates: Beside each teacher that learned learning rates also judge its images at grid rates, and real
            images at its rates.
        rank_at: The one number of updates that counts; None: the largest that all share.
        protocol: As for :func:`evaluate`, like those below.
        learner: See there.
        seeds: See there.
        fidelity: See there. Distances are of as many images as the smallest set has, so that they can be compared.
        continual: See there.
        robust: See there.
        seed: See there.
        device: See there.
        output: Write the results to this JSON file, and keep finished parts beside it until then.
        report: Write a self-contained HTML report to this file.
        progress: See there.
        **options: See there.

    Returns:
        The comparison, best first.

    Raises:
        UserError: A teacher cannot be opened or does not belong to the data, or an option is not one.
        KeyboardInterrupt: Ctrl-C; the sentence says what is kept.
    """
    named: list[tuple[str | None, Any]] = (
        list(teachers.items()) if isinstance(teachers, Mapping) else [(None, one) for one in teachers]
    )
    if not named:
        raise UserError("there is nothing to compare; give at least one teacher")
    asked = _learning(protocol, learner, seeds, device, progress, options)
    real = _common_data([one for _, one in named], data)
    with as_keyboard_interrupt(), keeping(output):
        opened = [(name, one, one if isinstance(one, Result) else load(one, real, seed=seed)) for name, one in named]
        opened += _baselines(opened, real, baselines, protocol, seed)
        stored = [teacher for _, _, teacher in opened if isinstance(teacher, Teacher)]
        if ablate_rates and all(one.learning_rates is None for one in stored):
            raise UserError("ablate_rates needs a teacher that learned rates with its images; none of these did")
        judging = _fidelity(fidelity, device, seed)
        if judging is not None and stored and judging.get("count") is None:
            judging["count"] = common_count(stored, real)
        found: list[dict[str, Any]] = []
        for name, given, teacher in opened:
            called = name or _name(given)
            if isinstance(teacher, Result):
                found.append(teacher.to_dict() | ({} if name is None else {"name": name}))
                continue
            found.append(
                judged(
                    teacher, real, path=_path(given), name=called, learning=asked, seed=seed,
                    fidelity=judging if _looks(fidelity, teacher) else None, continual=continual, robust=robust,
                )
            )  # fmt: skip
            if ablate_rates:
                found += judge_ablations(str(called), teacher, real, asked, path=_path(given))
        for one, distinct in zip(found, told_apart([str(one.get("name")) for one in found]), strict=True):
            one["name"] = distinct
        results: dict[str, Any] = {"teachers": rank(found, rank_at), "notes": rank_notes(found, rank_at)}
        if rank_at is not None:
            results["rank_at"] = rank_at
        if report is not None:
            shown = {str(one["name"]): teacher for one, teacher in _pairs(found, opened)}
            # Sentences have no pictures.
            grids = {name: grid_of(one) for name, one in shown.items() if one.description.embedding is None}
            write_report(results, report, grids)
        if output is not None:
            write_json(results, output)
            forget(output)
    return Comparison(results)


def _pairs(
    found: Sequence[dict[str, Any]], opened: Sequence[tuple[str | None, Any, Any]]
) -> list[tuple[dict[str, Any], Teacher]]:
    """Return each result with its teacher, of those that have one."""
    judged_ones = [one for one in found if "ablation" not in one]
    return [
        (one, teacher) for one, (_, _, teacher) in zip(judged_ones, opened, strict=True) if isinstance(teacher, Teacher)
    ]


def _learning(
    protocol: str | None, learner: Any, seeds: Any, device: str, progress: bool, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of learning, those that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    if protocol is not None:
        given["protocol"] = protocol
    if learner is not None:
        spec = held(learner, "learner")
        if not isinstance(spec, str | Mapping):
            raise UserError(f"learner is {learner!r}; give a learner's class, its name or class_path and init_args")
        given["learner"] = learner_spec(spec) if isinstance(spec, str) else full_paths(spec)
    if seeds is not None:
        given["seeds"] = seeds
    check_options(given, None)
    counter = Counter("learners", "updates") if progress else None
    return given | {"device": choose_device(device), "progress": counter}


def _looks(asked: bool | Mapping[str, Any] | None, teacher: Teacher) -> bool:
    """Return whether fidelity is measured of a teacher: of a private one where it was asked for."""
    return asked is not None or not is_private(teacher)


def _fidelity(asked: bool | Mapping[str, Any] | None, device: str, seed: int) -> dict[str, Any] | None:
    if asked is False:
        return None
    given = dict(asked) if isinstance(asked, Mapping) else {}
    check_options(None, given)
    return {"device": choose_device(device), "seed": seed} | given


def _path(teacher: Any) -> str | None:
    return None if isinstance(teacher, Teacher) else reference_of(teacher)


def _name(teacher: Any) -> str | None:
    if isinstance(teacher, Result):
        return teacher.name
    return teacher.kind if isinstance(teacher, Teacher) else short_name(reference_of(teacher))


def _common_data(teachers: Sequence[Any], data: DataLike | None) -> RealData:
    """Return the real data that all teachers are judged on."""
    first = next((one for one in teachers if not isinstance(one, Result) and not _is_real(one)), None)
    if data is None and first is None:
        raise UserError("none of these says which data it is judged on; give data, such as data='digits'")
    return data_of(first, data)


def _is_real(teacher: Any) -> bool:
    return isinstance(teacher, str) and (teacher == "real" or teacher.startswith("real:"))


def _baselines(
    opened: Sequence[tuple[str | None, Any, Any]], data: RealData, wanted: bool | None, protocol: str | None, seed: int
) -> list[tuple[str | None, Any, Any]]:
    """Return the choices of real images to show beside the teachers, as they are asked for."""
    if not (wanted or (wanted is None and protocol in OF_CONDENSED_SETS)):
        return []
    stored = [
        (None if isinstance(given, Teacher) else reference_of(given), one)
        for _, given, one in opened
        if isinstance(one, Teacher) and not is_everything(one, data.train)
    ]
    found = baselines(stored, data)
    if wanted and not found:
        raise UserError(
            "baselines needs a teacher with as many stored images of every class, and no more than there are "
            "real ones; none of these has them"
        )
    known = [given for _, given, _ in opened if isinstance(given, str)]
    return [(None, one, load(one, data, seed=seed)) for one in found if one not in known]
