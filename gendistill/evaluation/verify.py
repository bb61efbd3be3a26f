"""Judges a published result by its own protocol, holds it against a claim, and looks for what moves the number."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.comparison import quantile
from gendistill.evaluation.investigation import Verification, investigate
from gendistill.evaluation.protocols import OPTIONS, expand
from gendistill.evaluation.rates import OF_REAL_IMAGES
from gendistill.evaluation.reading import Reading, count_sets, is_public
from gendistill.evaluation.suspects import Case
from gendistill.evaluation.verification import MARGIN, Claim, Verdict, check_margin, sentence
from gendistill.plain import plain
from gendistill.seeds import seed_list
from gendistill.teacher.base import Teacher

BUDGETS = ("auto", "none", "quick", "all")
DIVERGED = "; 0 % is what learners have whose answers are no numbers any more"
NOTE = (
    "Suspects are a diagnosis, not a choice: all of them are tried on the images that the claim is about. The result "
    "of the protocol is the first number; to report a better one, say what was changed and why it is right."
)


def verify(
    path: str | Path,
    data: RealData,
    *,
    protocol: str | None = None,
    learning: Mapping[str, Any] | None = None,
    reading: Reading | None = None,
    claim: Claim | None = None,
    margin: float = MARGIN,
    suspects: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Judge a result by its own protocol, hold it against a claim, and look for what moves the number.

    Args:
        path: A file or folder that public code of dataset distillation saved, or any teacher.
        data: The real data that it stands for.
        protocol: See :mod:`gendistill.evaluation.protocols`; None: by the form of the file, see :func:`own_protocol`.
        learning: Options of :func:`gendistill.evaluation.learning.learning_curve` that stand in the protocol's place;
            ``seeds`` (5), ``device`` and ``progress`` among them.
        reading: How the file is read; by default as its content says.
        claim: The published accuracy.
        margin: Within it two accuracies are the same, a fraction.
        suspects: ``none``; ``quick``: what most often is the reason; ``all``: everything known here, and once more from
            the best of these; ``auto``: quick where the result does not agree with its claim, else none.
        tell: Called with a sentence before each training.

    Returns:
        Plain values: ``file``, ``dataset``, ``protocol`` (``name``, ``words``), ``understood`` (how the file
        was read), ``learning`` (the result of ``learning_curve``), ``claim`` (``accuracy``, ``std``, ``runs``; None
        without), ``margin``, ``verdict`` (:class:`gendistill.evaluation.verification.Verdict`; None without a claim),
        ``sentence``, ``suspects`` (each with ``kind``, ``words``, ``conclusion``, ``reading``, ``learning``, ``round``,
        ``runs``, ``mean``, ``move``, ``low``, ``high``, ``moved``, ``verdict`` (its word), ``skipped``), ``finding`` (a
        sentence; None where nothing was tried), ``note``.

    Raises:
        UserError: The file cannot be read, or an option is out of range.
    """
    if suspects not in BUDGETS:
        raise UserError(
            f"suspects is '{suspects}'; {did_you_mean(suspects, BUDGETS)}choose one of: {', '.join(BUDGETS)}"
        )
    check_margin(margin)
    given = dict(learning or {})
    seeds = _seeds(given.pop("seeds", 5))
    device, progress = given.pop("device", None), given.pop("progress", None)
    _known(given)
    reading = Reading() if reading is None else reading
    teacher = reading.open(path, data)
    named, words = ({"protocol": protocol}, "as given") if protocol else own_protocol(teacher, data)
    options = expand(named | given, data.description)
    case = Case(teacher, data, reading, is_public(path), options, given, named.get("protocol"), count_sets(path))
    work = Verification(path, case, seeds, claim, margin, device, tell, progress)
    work.say(f"judging {Path(path).name} by {case.protocol or 'its own rates'} ({words}), {len(seeds)} learners")
    judged = work.learn(teacher, options, seeds)
    runs = judged["accuracy"]["runs"][-1]
    verdict = work.verdict(runs)
    budget = suspects
    if budget == "auto":
        budget = "quick" if verdict is not None and verdict.word != "agrees" else "none"
    trials, finding = ([], None) if budget == "none" else investigate(work, runs, budget)
    source = teacher.noted("source", dict) or {}
    result = {
        "file": str(path),
        "dataset": data.description.name,
        "protocol": {"name": case.protocol, "words": words},
        "understood": _words(source),
        "learning": judged,
        "claim": None if claim is None else {"accuracy": claim.value, "std": claim.std, "runs": claim.runs},
        "margin": margin,
        "verdict": None if verdict is None else verdict.to_dict(),
        "sentence": _sentence(runs, claim, verdict) + ("" if any(runs) else DIVERGED),
        "suspects": trials,
        "finding": finding,
        "note": NOTE if trials else None,
    }
    plain_result: dict[str, Any] = plain(result, strict=True)
    return plain_result


def own_protocol(teacher: Teacher, data: RealData) -> tuple[dict[str, Any], str]:
    """Return the options of a result's own evaluation, ``protocol`` among them, and why.

    Args:
        teacher: The result; one that was read from public code notes whose form it had.
        data: The real data.
    """
    source = teacher.noted("source", dict) or {}
    form, file = str(source.get("format", "")), str(source.get("file", "")).lower()
    learned = teacher.learning_rates
    if learned is not None and len(learned) > 1:
        return {"lr": "teacher", "updates": (len(learned),)}, f"its {len(learned)} learned rates, one for each step"
    if learned is not None:
        plainly = {"augment": None} if data.description.kind != "pictures" else {}
        return {"protocol": "condensation-mtt"} | plainly, "it has one learned rate"
    if data.description.kind != "pictures":
        return {"protocol": "condensation"}, "the one without augmentation, which is for pictures"
    if form == "dc" and "datadam" in file:
        return {"protocol": "condensation-datadam"}, "by the file's name"
    if form == "dc" and file.startswith("res_dc_"):
        plain_dc = "condensation-mnist" if data.description.name == "mnist" else "condensation"
        return {"protocol": plain_dc}, "by the file's name"
    if form in ("mtt", "datm"):
        words = f"MTT's at {OF_REAL_IMAGES:g}, since the learned rate is missing; give it with --learning-rate"
        return {"protocol": "condensation-dsa"}, words
    if form == "idc":
        return {"protocol": "condensation-idc"} | _beside_idc(teacher, data), "IDC's"
    if "folder" in source:
        words = "the nearest for a folder of images; where a network labelled every batch, that is none of those here"
        return {"protocol": "condensation-dsa"}, words
    return {"protocol": "condensation-dsa"}, "that of DSA and DM"


def _beside_idc(teacher: Teacher, data: RealData) -> dict[str, Any]:
    """Return what IDC's code changes for sheets of MNIST and for single images of SVHN: there it has no CutMix."""
    sizes = teacher.budget()
    sheets, each = sizes["decoded_images"] != sizes["images"], sizes["images"] == data.description.num_classes
    if data.description.name == "mnist" and sheets:
        return {"cutmix": 0.0}
    if data.description.name == "svhn" and each and not sheets:
        return {"cutmix": 0.0, "augment": "color_crop_cutout_scale_rotate"}
    return {}


def _words(source: Mapping[str, Any]) -> list[str]:
    words = source.get("words")
    return list(map(str, words)) if isinstance(words, list | tuple) else []


def _sentence(runs: Sequence[float], claim: Claim | None, verdict: Verdict | None) -> str:
    if claim is not None and verdict is not None:
        return sentence(runs, claim, verdict)
    mean, error = statistics.fmean(runs), statistics.stdev(runs) / math.sqrt(len(runs))
    reach = float(quantile(len(runs) - 1.0)) * error
    return (
        f"reaches {100 * mean:.1f} ± {100 * statistics.stdev(runs):.1f} % ({len(runs)} learners), 95 % interval of the "
        f"mean {100 * (mean - reach):.1f} to {100 * (mean + reach):.1f}; nothing is claimed"
    )


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    listed = seed_list(seeds)
    if len(set(listed)) != len(listed) or len(listed) < 2:
        raise UserError(
            f"seeds is {seeds}; a claim is judged by 2 learners or more, since one says nothing of how they vary"
        )
    return listed


def _known(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS:
            raise UserError(
                f"learning has no option '{name}'; {did_you_mean(name, OPTIONS)}it takes: {', '.join(OPTIONS)}"
            )
