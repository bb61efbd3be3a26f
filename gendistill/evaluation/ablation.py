"""Is it the images or the schedule? A teacher's images without its learned rates, and its learned rates without them.

A teacher that learned learning rates with its images can be good for either. Two more rows beside it tell: its images
with the rates that everybody else chooses among, and real images with its rates, batch by batch of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gendistill.data.real import RealData
from gendistill.evaluation.epochs import measuring_points, one_epoch, with_images
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.lessons import whose_normalisation
from gendistill.evaluation.protocols import expand, with_defaults
from gendistill.evaluation.rates import made_for_optimizer
from gendistill.evaluation.settings import ASKED_OWN, OWN
from gendistill.initial import KEY
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.subset import RealSubset


@dataclass(frozen=True)
class Ablation:
    """A row beside a teacher's own.

    Attributes:
        name: What a table calls it.
        teacher: What teaches.
        learning: Options of :func:`gendistill.evaluation.learning.learning_curve`.
        note: ``of`` (the teacher's name) and ``keeps`` (``images`` or ``rates``): what a result keeps of it under
            ``ablation``, so that nobody takes the row for a teacher of its own, or for all real data.
        length: What a result says of its length where that is in passes over the teacher: ``epochs`` and ``epoch``.
    """

    name: str
    teacher: Teacher
    learning: dict[str, Any]
    note: dict[str, str]
    length: dict[str, Any] = field(default_factory=dict)


def rate_ablations(name: str, teacher: Teacher, data: RealData, learning: Mapping[str, Any]) -> list[Ablation]:
    """Return the rows that tell a teacher's images from its learned rates; none for a teacher that learned no rates.

    Args:
        name: The teacher's.
        teacher: The teacher.
        data: The real data that judges.
        learning: The options that the teacher itself is judged by, of
            :func:`gendistill.evaluation.learning.learning_curve`, and ``protocol``.

    Returns:
        Its images with the rates among ``lr`` that are not its own, or the grid (left out where that is how it is
        judged anyway); all real training images with its rates and momenta, in batches as large as its own, for as many
        updates, from the first weights that it was made for.

    Raises:
        UserError: There is no such protocol, or an option of it is out of range.
    """
    if teacher.learning_rates is None:
        return []
    options = expand(learning, data.description)
    given = options.get("lr")
    listed = [given] if isinstance(given, str | float | int) else list(given or ())
    others = [rate for rate in listed if rate not in ASKED_OWN] or ["grid"]
    made = []
    if given is None or any(rate in ASKED_OWN for rate in listed):
        mixed = {"lr": others[0] if len(others) == 1 else others}
        note = {"of": name, "keeps": "images"}
        made.append(Ablation(f"{name} at grid rates", teacher, options | mixed, note))
    own = [rate for rate in listed if rate in ASKED_OWN] or [OWN]
    held = {"lr": own[0] if len(own) == 1 else own, "optimizer": made_for_optimizer(teacher)}
    real, changed, length = _real_images(teacher, data, options)
    note = {"of": name, "keeps": "rates"}
    made.append(Ablation(f"real at the rates of {name}", real, options | changed | held, note, length))
    return made


def judge_ablations(
    name: str, teacher: Teacher, data: RealData, learning: Mapping[str, Any], *, path: str | Path | None = None
) -> list[dict[str, Any]]:
    """Judge the rows of :func:`rate_ablations`.

    Args:
        name: The teacher's.
        teacher: The teacher.
        data: The real data that judges.
        learning: See :func:`rate_ablations`.
        path: The teacher's file, for the record.

    Returns:
        Results of :func:`gendistill.evaluation.evaluate.evaluate` without fidelity, each with its row's ``ablation``.

    Raises:
        UserError: See :func:`rate_ablations`.
    """
    judged = []
    for one in rate_ablations(name, teacher, data, learning):
        source = path if one.note["keeps"] == "images" else None
        result = evaluate(one.teacher, data, path=source, name=one.name, learning=one.learning, fidelity=None)
        result["learning"] |= {"protocol": learning.get("protocol")} | one.length
        # Real images at another's rates are nothing that the others are held against.
        result["teacher"]["everything"] = False
        judged.append(result | {"ablation": one.note})
    return judged


def _real_images(
    teacher: Teacher, data: RealData, given: Mapping[str, Any]
) -> tuple[Teacher, dict[str, Any], dict[str, Any]]:
    """Return all real images with a teacher's rates and size of batch.

    Returns:
        The images; the options that make them last as long; what a result says of that length.
    """
    options = with_defaults(given)
    asked, training_images = options["batch_size"], len(data.train)
    shown = with_images(teacher, options["generated"], training_images)
    # What it shows in truth: curricula and distilled images have batches of their own, few images fill no large one.
    images, _, _ = next(iter(shown.batches(1, asked, stream(0, "ablation", shown.device))))
    normalisation = whose_normalisation(options["normalisation"], teacher, data)
    described = teacher.description if normalisation == "teacher" else data.description
    kept = {key: teacher.metadata[key] for key in (KEY, "optimizer") if key in teacher.metadata}
    real = RealSubset(
        data.train.images,
        data.train.labels,
        data.description.with_normalisation(described.normalisation),
        batch_size=len(images),
        learning_rates=teacher.learning_rates,
        momenta=teacher.momenta,
        metadata=kept | {"source": {"dataset": data.description.name, "images": training_images, "selection": "all"}},
    )
    changed: dict[str, Any] = {"normalisation": normalisation}
    if options["epochs"] is None:
        return real, changed, {}
    # Passes over the teacher, not over all real images.
    epoch = one_epoch(shown, asked, training_images)
    points = measuring_points(options["updates"], epoch, options["epochs"], options["measure_every"])
    length = {"epochs": options["epochs"], "epoch": {"images": epoch.images, "updates": epoch.updates}}
    return real, changed | {"epochs": None, "updates": points}, length
