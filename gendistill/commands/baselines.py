"""Which choices of real images a set of distilled ones has to beat, and which protocols show them beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gendistill.spelling import LABELS

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher

BASELINES = ("ipc", "herding", "kcenter")
"""Random images of each class, herding and k-center."""

OF_CONDENSED_SETS = (
    "condensation", "condensation-dsa", "condensation-mnist", "condensation-mtt", "condensation-datadam",
    "condensation-idc", "condensation-ncfm", "rded", "shi-chen",
)  # fmt: skip
"""The protocols whose papers show those choices beside every set."""


def baselines(teachers: Sequence[tuple[str | None, Teacher]], data: RealData) -> list[str]:
    """Return references to as many real images of each class as the teachers store.

    Beside a teacher that a network has labelled the same images are shown once more with its labels: what is left then
    is what the images are worth.

    Args:
        teachers: How a command names them (None: it cannot), and they. Those without as many stored images of every
            class, or with more than there are real ones, ask for none.
        data: The real data.
    """
    most = int(data.train.labels.bincount(minlength=data.description.num_classes).min())
    found: dict[int, list[str]] = {}
    for reference, one in teachers:
        counts = one.label_counts
        if not counts or min(counts) != max(counts) or not 0 < counts[0] <= most:
            continue
        labellers = found.setdefault(counts[0], [""])
        if reference is not None and (named := _labels_of(reference, one)) is not None:
            labellers.append(named)
    return [
        f"real:{choice}={size}{labels}"
        for size, labellers in sorted(found.items())
        for labels in dict.fromkeys(labellers)
        for choice in BASELINES
    ]


def _labels_of(reference: str, teacher: Teacher) -> str | None:
    """Return what a reference to real images ends with that get the labels of a teacher; None where it has no network.

    Real images with labels of one are that column already.
    """
    shown, given, by = reference.rpartition(LABELS)
    if given:
        return None if shown == "real" or shown.startswith("real:") else f"{LABELS}{by}"
    return None if teacher.labeller is None else f"{LABELS}{reference}"
