"""What a data card says of a teacher's results: accuracy with its protocol and interval, distances, budgets, audit."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any

from gendistill.errors import UserError
from gendistill.json_file import Is, Keys, fraction, read_json, size, text, whole
from gendistill.notes import note
from gendistill.spelling import typed
from gendistill.visible import visible
from gendistill.words import counted, listed

if TYPE_CHECKING:
    from gendistill.teacher import Teacher


UNAUDITED = "none was made; gendistill audit attacks a teacher, and export --audit FILE puts what it found here"
_SHARE = Is(fraction, "a fraction")
AUDIT = Keys(
    required={
        "name": Is(text, "a name"),
        "dataset": Is(text, "a name"),
        "verdict": Is(text, "a sentence"),
        "members": Is(whole, "a number of images"),
        "others": Is(whole, "a number of images"),
        "attacks": Keys(others=Keys(required={"auc": _SHARE, "low": _SHARE, "high": _SHARE})),
    },
    optional={
        "teacher": Keys(
            optional={
                "path": Is(text, "a path"),
                "kind": Is(text, "a word"),
                **{name: Is(whole, "a whole number") for name in ("images", "bytes")},
            }
        ),
        "one_run": Keys(optional={name: Is(size, "a number from 0") for name in ("bound", "promised")}),
    },
)
"""What is read of a file that ``gendistill audit`` wrote."""


def published(results: Mapping[str, Any], source: str, reference: str, teacher: Teacher) -> dict[str, str]:
    """Return the lines of a card that results say of a teacher.

    Args:
        results: ``{"teachers": [result of an evaluation, ...]}``, checked.
        source: What to call it in an error: a file.
        reference: What the teacher is called in an error.
        teacher: The teacher; among several results its own are found by its checksum.

    Returns:
        Words by what they are of.

    Raises:
        UserError: None or more than one of the results is of this teacher.
    """
    one = _of(results, source, reference, teacher)
    private = one.get("privacy") is not None
    facts: dict[str, str] = {}
    if (learning := one.get("learning")) is not None:
        facts |= _learning(learning, teacher.labeller is not None)
    if private and (one.get("fidelity") or one.get("seconds") is not None):
        note("the card of a private teacher has no distance to the images that it protects, and no time, which tells "
             "how many there are")  # fmt: skip
    if not private and (fidelity := one.get("fidelity")) and fidelity.get("value") is not None:
        facts["distance to real images"] = f"{fidelity.get('name') or 'FD'} {fidelity['value']:.2f}"
        if fidelity.get("n") is not None:
            facts["distance to real images"] += f" of {fidelity['n']:,} images"
    if not private and one.get("seconds") is not None:
        facts["seconds to make"] = f"{one['seconds']:,.0f}"
    updates = (one.get("budget") or {}).get("learner_updates")
    if updates is not None:
        facts["updates of a learner"] = f"{updates:,}"
    return facts


def audited(path: str, reference: str, teacher: Teacher) -> dict[str, str]:
    """Return the lines of a card that an audit says of a teacher.

    Args:
        path: What ``gendistill audit --output`` wrote.
        reference: The teacher's.
        teacher: The teacher itself, which the audit must be of.

    Returns:
        Words by what they are of.

    Raises:
        UserError: There is no such file, it is none, or it is of another teacher.
    """
    try:
        found = read_json(path, AUDIT)
    except FileNotFoundError as error:
        raise UserError(f"there is no '{path}'; gendistill audit writes one with --output") from error
    asked = found.get("teacher")
    _require_same((asked or {}) | {"dataset": found["dataset"]}, path, reference, teacher, "audit it")
    asked_about = f"{found['members']:,} members and {found['others']:,} images that were not used"
    words = {"audit": found["verdict"], "asked about in the audit": asked_about}
    for name, attack in found["attacks"].items():
        words[f"attack: {name}"] = f"AUC {attack['auc']:.3f} [{attack['low']:.3f}, {attack['high']:.3f}]"
    once = found.get("one_run") or {}
    if once.get("bound") is not None and once.get("promised") is not None:
        words["canaries"] = f"epsilon is at least {once['bound']:.2f} (95 %); {once['promised']:.3g} is promised"
    return words


def _require_same(said: Mapping[str, Any], source: str, reference: str, teacher: Teacher, how: str) -> None:
    """Refuse what was measured on another teacher, or does not say on which.

    Args:
        said: What it says of the teacher, with the ``dataset``.
        source: What to call it in an error: a file.
        reference: The teacher's.
        teacher: The one that it must be of.
        how: What to do else.

    Raises:
        UserError: It is not.
    """
    from gendistill.teacher.identity import checksum

    own = teacher.budget() | {"kind": teacher.kind, "dataset": teacher.description.name}
    for key, what in (("dataset", "data set"), ("kind", "kind"), ("images", "images"), ("bytes", "bytes")):
        if key in said and said[key] is not None and said[key] != own[key]:
            theirs = visible(str(said[key]), 60)
            raise UserError(
                f"'{source}' is of another teacher than '{reference}': its {what} {'are' if what[-1] == 's' else 'is'} "
                f"{theirs}, not {own[key]}; measure this one"
            )
    if said.get("checksums"):
        raise UserError(
            f"'{source}' has the mean over {counted(len(said['checksums']), 'teacher')}, of which '{reference}' is one "
            f"at most; {how} alone"
        )
    if said.get("checksum") is None:
        raise UserError(
            f"'{source}' does not say by a checksum of which teacher it is, as results of earlier versions do not; "
            f"{how} anew"
        )
    if said["checksum"] != checksum(teacher):
        raise UserError(
            f"'{source}' is of another teacher than '{reference}', though of the same size and data: its checksum is "
            f"{visible(str(said['checksum'])[:12], 12)}, not {str(checksum(teacher))[:12]}; {how}"
        )


def interval(runs: list[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of runs, by Student's t; None for fewer than two."""
    from gendistill.evaluation.comparison import quantile

    if len(runs) < 2:
        return None
    mean, reach = statistics.fmean(runs), float(quantile(len(runs) - 1.0)) * statistics.stdev(runs) / sqrt(len(runs))
    return max(0.0, mean - reach), min(1.0, mean + reach)


def _of(results: Mapping[str, Any], source: str, reference: str, teacher: Teacher) -> Mapping[str, Any]:
    """Return the one of several results that is of a teacher.

    Raises:
        UserError: There is none, or there are more.
    """
    from gendistill.teacher.identity import checksum

    how = f"evaluate it ({typed('evaluate', reference)})"
    found: list[Mapping[str, Any]] = list(results["teachers"])
    own = checksum(teacher)
    fitting = [one for one in found if own is not None and (one.get("teacher") or {}).get("checksum") == own]
    if len(found) > 1 and len(fitting) != 1:
        names = listed([str(one.get("name")) for one in (fitting or found)])
        many = "more than one result" if fitting else "none"
        raise UserError(f"'{source}' has results of {names}, {many} of '{reference}' by its checksum; {how}")
    one = fitting[0] if fitting else found[0]
    _require_same(one["teacher"] | {"dataset": one.get("dataset")}, source, reference, teacher, how)
    return one


def _learning(learning: Mapping[str, Any], labelled: bool) -> dict[str, str]:
    accuracy = learning.get("accuracy") or {}
    lines = {}
    runs = accuracy.get("runs") or [None] * len(learning.get("updates") or ())
    for count, mean, values in zip(learning.get("updates") or (), accuracy.get("mean") or (), runs, strict=False):
        if mean is None:
            continue
        reach = interval([float(value) for value in values or ()])
        words = f"{100 * mean:.1f} %" + ("" if reach is None else f" [{100 * reach[0]:.1f}, {100 * reach[1]:.1f}]")
        lines[f"test accuracy after {counted(int(count), 'update')}"] = words
    spec = learning.get("learner")
    learner = spec.get("class_path", "") if isinstance(spec, Mapping) else spec or ""
    seeds = learning.get("seeds")
    how = [f"protocol {learning['protocol']}"] if learning.get("protocol") else []
    how += [f"learner {str(learner).rpartition('.')[2]}"] if learner else []
    many = len(seeds) if isinstance(seeds, list) else 1
    how += [f"{counted(many, 'learner')} of first weights of their own"] if isinstance(seeds, list) else []
    how += ["updates in bfloat16"] if learning.get("precision") == "bfloat16" else []
    how += ["labels of the teacher's labeller"] if labelled and learning.get("labels", "given") == "given" else []
    how += ["mean with its 95 % interval over them"] if many > 1 else []
    return lines | {"how accuracy was measured": "; ".join(how)} if how else lines
