"""Class-incremental learning from a small memory: classes arrive in stages, learners keep a teacher's images of them.

As in GDumb (Prabhu et al. 2020) and in the condensation papers (Zhao & Bilen 2021, 2023): after each stage a fresh
learner is trained on the memory alone, that is on the teacher's images of all classes seen so far, and tested on the
real images of those classes.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.lessons import whose_normalisation
from gendistill.privacy.promise import KEY
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.export import materialise
from gendistill.teacher.fit import fitted
from gendistill.teacher.stored import StoredImages


def continual_learning(
    teacher: Teacher, data: RealData, *, stages: int = 5, orders: int = 1, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Measure learners on all classes seen so far, stage by stage.

    Args:
        teacher: The memory; a teacher with a number of images, such as random real ones for comparison.
        data: The real data.
        stages: At least 1; each brings as many new classes as the others, or one more. The first brings 2 or more.
        orders: Random orders of the classes; the same for every teacher.
        seed: Draws the orders.
        **options: Those of :func:`gendistill.evaluation.learning.learning_curve`; the accuracy after the largest number
            of updates counts. Rates that a teacher has learned for a sequence of steps belong to all its images, so
            they are left out; a single one is kept.

    Returns:
        ``stages``, ``orders`` (lists of classes), ``classes_seen`` (by stage), ``images_kept`` (by stage, of the first
        order), ``accuracy``: by stage ``mean`` over orders and learners, ``std`` over the learners of one order (the
        root of the mean variance; None for one learner) and ``std_orders`` of the orders' means (None for one order);
        ``runs`` (each a list by stage, order by order), ``average`` (the mean over stages).

    Raises:
        UserError: A number of stages out of range, a teacher that makes images without end, a class without images.
    """
    classes = data.description.num_classes
    ends = [round(classes * (stage + 1) / stages) for stage in range(max(stages, 0))]
    if not ends or ends[0] < 2 or orders < 1:
        raise UserError(
            f"continual learning has stages of 2 classes or more, of the {classes} of '{data.description.name}', and 1 "
            f"order or more; got {stages} stages and {orders} orders"
        )
    teacher = fitted(teacher, data.description)
    counts = teacher.label_counts
    if counts is None or min(counts) < 1:
        raise UserError("continual learning keeps a number of images of every class; this teacher has none of some")
    if whose_normalisation(options.get("normalisation", "auto"), teacher, data) == "teacher":
        data = data.with_normalisation(teacher.description.normalisation)
    memory = materialise(teacher)
    generator = stream(seed, "continual/orders")
    chosen = [torch.randperm(classes, generator=generator).tolist() for _ in range(orders)]
    runs: list[list[float]] = []
    kept: list[int] = []
    for number, order in enumerate(chosen):
        by_stage = []
        for end in ends:
            seen = sorted(order[:end])
            part, real = remembered(memory, seen), only(data, seen)
            by_stage.append(learning_curve(part, real, **options)["accuracy"]["runs"][-1])
            if number == 0:
                kept.append(part.images_stored)
        runs += [list(run) for run in zip(*by_stage, strict=True)]
    columns = [
        torch.tensor(column, dtype=torch.float64).view(orders, -1) for column in zip(*runs, strict=True)
    ]  # (orders, learners)
    means = [float(column.mean()) for column in columns]
    return {
        "stages": stages,
        "orders": chosen,
        "classes_seen": ends,
        "images_kept": kept,
        "accuracy": {
            "mean": means,
            "std": [float(column.var(1).mean().sqrt()) if column.shape[1] > 1 else None for column in columns],
            "std_orders": [float(column.mean(1).std()) if orders > 1 else None for column in columns],
            "runs": runs,
            "average": statistics.fmean(means),
        },
    }


def remembered(memory: StoredImages, seen: list[int]) -> StoredImages:
    """Return a memory's images of some classes, numbered anew in their order.

    What soft labels say of the other classes is shared out among those that are seen, so that every image weighs as
    much in the loss as with all classes. Labels with negative entries, which are no distributions, are only cut.
    """
    index = _members(memory.classes, seen)
    labels = memory.labels_at(index)
    labels = _cut(labels, seen) if memory.labels_are_soft else _renumbered(labels, seen)
    rates = memory.learning_rates if memory.learning_rates is not None and len(memory.learning_rates) == 1 else None
    # What tells real images, what a rate is for, and a promise, under which none is chosen; first weights belong to a
    # network for all classes.
    noted: dict[str, Any] = {
        name: memory.metadata[name] for name in ("source", "optimizer", KEY) if name in memory.metadata
    }
    # As they are kept, so that real images stay bytes and what is decoded stays so.
    found = type(memory)(
        memory.images[index],
        labels,
        _named(memory.description, seen),
        decode=memory.decode,
        learning_rates=rates,
        metadata=noted,
    )
    found.labeller = None if memory.labeller is None else memory.labeller.of_classes(seen)
    return found


def only(data: RealData, seen: list[int]) -> RealData:
    """Return the real images of some classes, numbered anew in their order."""

    def part(split: Split) -> Split:
        index = _members(split.labels, seen)
        return Split(split.images[index], _renumbered(split.labels[index], seen))

    return RealData(_named(data.description, seen), part(data.train), part(data.validation), part(data.test))


def _members(labels: Tensor, seen: list[int]) -> Tensor:
    return torch.isin(labels, torch.tensor(seen, device=labels.device)).nonzero().flatten()


def _cut(labels: Tensor, seen: list[int]) -> Tensor:
    kept = labels[:, seen]
    if bool((labels < 0).any()):
        return kept
    # The likeliest class is among those seen, so that something is left of every label.
    return kept * (labels.sum(1) / kept.sum(1).clamp(min=torch.finfo(kept.dtype).tiny))[:, None]


def _renumbered(labels: Tensor, seen: list[int]) -> Tensor:
    return torch.searchsorted(torch.tensor(seen, device=labels.device), labels)


def _named(description: Description, seen: list[int]) -> Description:
    return replace(description, class_names=tuple(description.class_names[label] for label in seen))
