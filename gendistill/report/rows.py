"""Results as rows: what the terminal's table and the report's table both show."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gendistill.class_names import timm_name
from gendistill.evaluation.comparison import Sample
from gendistill.evaluation.resolution import resolution
from gendistill.evaluation.result_form import check_result, check_results
from gendistill.evaluation.settings import OWN, own_rates, planned_length, rates_tried

REAL = "real"
"""The reference to all real images."""
REAL_IMAGES = "real-subset"
"""The kind of a teacher that holds real images, all or some."""


@dataclass(frozen=True)
class Score:
    """Accuracy after one number of updates.

    Attributes:
        mean: Mean over seeds, a fraction.
        std: Sample standard deviation over seeds; None where there is none.
        runs: Number of seeds, 0 where it is not known.
        values: Accuracy of each seed, where known.
    """

    mean: float
    std: float | None
    runs: int
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Fidelity:
    """A distance to real images.

    Attributes:
        name: What was measured, with the extractor in brackets.
        value: Its mean over draws.
        n: Images in a draw, None where not said.
        std: Sample standard deviation over draws, or over runs; None for one.
        draws: How many, None where not said.
        over: What they are: ``draw`` or ``run``.
        reference: Real images compared with: ``train`` or ``test``.
        extractor: What tells extractors apart.
        dataset: Whose real images they are: the data set's name and fingerprint, as far as they are known.
    """

    name: str
    value: float
    n: int | None = None
    std: float | None = None
    draws: int | None = None
    over: str = "draw"
    reference: str | None = None
    extractor: str | None = None
    dataset: tuple[str | None, str | None] = (None, None)

    @property
    def column(self) -> tuple[Any, ...]:
        """What must be the same for two values to stand in one column."""
        return (self.name, self.extractor, self.reference, self.dataset, self.n)


@dataclass(frozen=True)
class Row:
    """One teacher.

    Attributes:
        name: What to call it.
        kind: What sort of teacher it is.
        images: Images that it stores; ``None`` for fresh ones without end.
        bytes: Size of what it stores, all of it.
        decoded: Images that learners see of those stored; None where that is not known.
        parts: Bytes of images, labels and labeller; none where they are not known.
        scores: Accuracy by number of learner updates.
        fidelity: Fréchet distance; ``None`` where it was not measured.
        kernel: Kernel distance of the same images.
        whole: Fréchet distance of all images, where the other is of fewer.
        distinct: Images that differ, of those stored; None where that is not known.
        making: What its file says that making it took: ``cpu_seconds``, ``gpu_seconds``, ``peak_memory``, ...; of
            several runs the means.
        made: Seconds that making it took, where known.
        judged: Seconds that its learners took.
        learner: The learner's name.
        epoch_updates: Updates in an epoch, where the training was measured in epochs.
        epochs: Length of the training in epochs, where it was said so.
        everything: Whether this is all real data, which the others are held against.
        seeds: What tells which learners of two teachers belong together.
        over: What accuracies are spread over: ``seed``, or ``run`` for the runs of a replication.
        split: Real images that learners were tested on.
        tested_on: How many, where known.
        images_per_update: Images that a learner saw in an update.
        rates: Learning rate by number of updates, in words; empty where it is not known.
        candidates: The rates that the validation split chose among; one or none where it had no choice.
        select: Whether it chose at ``each`` number of updates or at the ``last``.
        validation_images: How many images chose.
        own_rates: Whether the rates are what the teacher learned.
        planned: Length of the training in updates, where the points before its end depend on it.
        notes: Sentences on what not to trust in its result.
        reference: How a command names it: a path, or real images such as ``real:ipc=10``; empty where it is not known.
    """

    name: str
    kind: str
    images: int | None
    bytes: int | None
    decoded: int | None = None
    parts: tuple[int, int, int] | None = None
    scores: dict[int, Score] = field(default_factory=dict)
    fidelity: Fidelity | None = None
    kernel: Fidelity | None = None
    whole: Fidelity | None = None
    distinct: int | None = None
    making: Mapping[str, float] = field(default_factory=dict)
    made: float | None = None
    judged: float | None = None
    learner: str = ""
    epoch_updates: int | None = None
    epochs: int | None = None
    everything: bool = False
    seeds: tuple[Hashable, ...] | None = None
    over: str = "seed"
    split: str | None = None
    tested_on: int | None = None
    images_per_update: float | None = None
    rates: dict[int, str] = field(default_factory=dict)
    candidates: tuple[float | str, ...] = ()
    select: str | None = None
    validation_images: int | None = None
    own_rates: bool = False
    planned: int | None = None
    notes: tuple[str, ...] = ()
    reference: str = ""

    def sample(self, count: int, step: float) -> Sample:
        """Return what its learners reached after one number of updates, to be compared; see :class:`Sample`."""
        return Sample(self.scores[count].values, self.seeds, step)


def row(result: Mapping[str, Any]) -> Row:
    """Read one evaluation's result.

    Raises:
        UserError: It has not the form of one.
    """
    check_result(result, f"the result of '{result.get('name') or 'a teacher'}'")
    teacher, learning = result["teacher"], result["learning"] or {}
    scores = scores_of(learning)
    updates = [int(count) for count in learning.get("updates") or []]
    sizes = learning.get("split_sizes") or {}
    selection = learning.get("selection") or {}
    seeds = learning.get("seeds")
    pooled = any(isinstance(seed, list | tuple) for seed in seeds or ())
    return Row(
        name=str(result.get("name") or teacher.get("path") or teacher.get("kind") or "teacher"),
        kind=str(teacher.get("kind") or ""),
        images=teacher.get("images"),
        bytes=teacher.get("bytes"),
        decoded=teacher.get("decoded_images"),
        parts=_parts(teacher),
        scores=scores,
        **_distances(result.get("fidelity") or {}, (result.get("dataset"), result.get("dataset_fingerprint"))),
        distinct=(result.get("budget") or {}).get("distinct_images"),
        making=teacher.get("making") or {},
        made=_seconds(result.get("seconds")),
        judged=_seconds(learning.get("seconds")),
        learner=learner_name(learning.get("learner")),
        epoch_updates=learning["epoch"]["updates"] if learning.get("epochs") and learning.get("epoch") else None,
        epochs=learning.get("epochs"),
        everything=is_everything(teacher, sizes.get("train")),
        seeds=None if not seeds else tuple(tuple(seed) if isinstance(seed, list) else seed for seed in seeds),
        over="run" if pooled else "seed",
        split=learning.get("split"),
        tested_on=sizes.get(learning.get("split")) or None,
        images_per_update=_per_update(updates, learning.get("images_seen")),
        rates=_rates(updates, learning.get("lr")),
        candidates=tuple(rates_tried(learning)) if selection else (),
        select=selection.get("select"),
        validation_images=sizes.get("validation"),
        own_rates=own_rates(learning),
        planned=planned_length(learning),
        notes=(*(result.get("notes") or ()), *((result.get("fidelity") or {}).get("notes") or ())),
        reference=str(teacher.get("path") or ""),
    )


def rows(results: Mapping[str, Any]) -> list[Row]:
    """Read every teacher of ``{"teachers": [...]}``, in order; names that occur more than once are numbered.

    Raises:
        UserError: Something has not the form of results.
    """
    table = [row(result) for result in check_results(results, "results")]
    names = told_apart([one.name for one in table])
    return [replace(one, name=name) for one, name in zip(table, names, strict=True)]


def told_apart(names: Sequence[str]) -> list[str]:
    """Number the names that occur more than once: ``gan``, ``gan (2)``."""
    taken: list[str] = []
    for name in names:
        found, number = name, 1
        while found in taken:
            number += 1
            found = f"{name} ({number})"
        taken.append(found)
    return taken


def is_everything(teacher: Mapping[str, Any], training_images: int | None) -> bool:
    """Return whether a result's teacher is all real images, whatever it is called.

    Args:
        teacher: The section of that name. What older versions wrote does not say it; there it is real images that were
            named ``real`` or are as many as the training set has.
        training_images: Size of that set, None where the result does not say it.
    """
    said = teacher.get("everything")
    if said is not None:
        # Other people's files may say it of a few images.
        known = None not in (teacher.get("images"), training_images)
        return bool(said) and not (known and teacher.get("images") != training_images)
    if teacher.get("kind") != REAL_IMAGES:
        return False
    return teacher.get("path") == REAL if training_images is None else teacher.get("images") == training_images


def reference_of(table: Sequence[Row]) -> Row | None:
    """Return the row of all real data, which the others are held against; None where there is none."""
    return next((one for one in table if one.everything), None)


def step_of(table: Sequence[Row]) -> float:
    """Return the distance of two accuracies that can be told apart on the images that all were tested on.

    Where no result says how many there are, it is the widest grid that all accuracies lie on.
    """
    sizes = [one.tested_on for one in table if one.tested_on]
    values = [value for one in table for score in one.scores.values() for value in score.values]
    return 1 / min(sizes) if sizes else resolution(values)


def learner_name(spec: Any) -> str:
    """Return a learner's short name: the class, without its package."""
    path = spec.get("class_path", "") if isinstance(spec, Mapping) else spec or ""
    if (of_timm := timm_name(path, spec.get("init_args") if isinstance(spec, Mapping) else None)) is not None:
        return of_timm
    return str(path).rpartition(".")[2]


def update_counts(table: Sequence[Row], most: int = 5, wanted: Sequence[int] | None = None) -> list[int]:
    """Return the numbers of updates that a table shows.

    Args:
        table: The rows.
        most: With more than these, so many of them are shown, evenly spread with both ends.
        wanted: Shows these instead, those that were measured.
    """
    counts = sorted({count for one in table for count in one.scores})
    if chosen := [count for count in counts if count in (wanted or ())]:
        return chosen
    if len(counts) <= most:
        return counts
    places = sorted({round(place * (len(counts) - 1) / (most - 1)) for place in range(most)})
    return [counts[place] for place in places]


def scores_of(learning: Mapping[str, Any]) -> dict[int, Score]:
    """Return the scores of a curve by number of updates."""
    accuracy = learning.get("accuracy") or {}
    updates, means = learning.get("updates") or [], accuracy.get("mean") or []
    nothing = [None] * len(updates)
    listed = zip(updates, means, accuracy.get("std") or nothing, accuracy.get("runs") or nothing, strict=True)
    return {
        int(count): Score(float(mean), _spread(std, runs or ()), len(runs or ()), tuple(runs or ()))
        for count, mean, std, runs in listed
        if mean is not None
    }


def _spread(std: float | None, runs: Sequence[float]) -> float | None:
    """Return the sample standard deviation of the runs; what the result says of it only where they are not known."""
    if len(runs) > 1:
        return statistics.stdev(runs)
    return None if std is None else float(std)


def _distances(fidelity: Mapping[str, Any], dataset: tuple[str | None, str | None]) -> dict[str, Fidelity | None]:
    pooled = "runs" in fidelity
    shared = {"reference": fidelity.get("reference"), "extractor": fidelity.get("extractor"), "dataset": dataset}

    def of(part: Mapping[str, Any], name: str, **more: Any) -> Fidelity | None:
        if part.get("value") is None:
            return None
        return Fidelity(str(part.get("name") or name), float(part["value"]), **{**shared, **more})

    name = str(fidelity.get("name") or "FD")
    spread = {
        "std": fidelity.get("std"),
        "draws": len(fidelity["runs"]) if pooled and fidelity["runs"] else fidelity.get("draws"),
        "over": "run" if pooled else "draw",
    }
    whole = fidelity.get("whole") or {}
    return {
        "fidelity": of(fidelity, name, n=fidelity.get("n"), **spread),
        # It does not depend on the number of images, and is of all of them, not of the draws.
        "kernel": of(fidelity.get("kid") or {}, name.replace("FD", "KID", 1)),
        "whole": of(whole, name, n=whole.get("n")) if whole.get("n") != fidelity.get("n") else None,
    }


def _parts(teacher: Mapping[str, Any]) -> tuple[int, int, int] | None:
    images, labels, labeller = (teacher.get(f"{part}_bytes") for part in ("image", "label", "labeller"))
    return None if images is None or labels is None or labeller is None else (images, labels, labeller)


def _seconds(value: float | None) -> float | None:
    return float(value) if value else None  # real images took no making


def _per_update(updates: Sequence[int], seen: Sequence[float] | None) -> float | None:
    return seen[-1] / updates[-1] if seen and updates and updates[-1] else None


def _rates(updates: Sequence[int], rates: Any) -> dict[int, str]:
    """Return the rate behind each number of updates; of several runs all that were chosen."""
    if not isinstance(rates, list | tuple):
        rates = [] if rates is None else [rates] * len(updates)
    if rates and all(isinstance(one, list | tuple) for one in rates):
        runs = [one for one in rates if len(one) == len(updates)]
        return {
            count: ", ".join(dict.fromkeys(_rate(run[place]) for run in runs)) for place, count in enumerate(updates)
        }
    return {count: _rate(rate) for count, rate in zip(updates, rates, strict=False)}


def _rate(rate: float | str) -> str:
    return ("its own" if rate == OWN else rate) if isinstance(rate, str) else f"{rate:g}"
