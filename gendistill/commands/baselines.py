"""Which choices of real images a set of distilled ones has to beat, and which protocols show them beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher

BASELINES = ("ipc", "herding", "kcenter")
"""Random images of each class, herding and k-center."""

OF_CONDENSED_SETS = (
    "condensation", "condensation-dsa", "condensation-mnist", "condensation-mtt", "condensation-datadam", "shi-chen",
)  # fmt: skip
"""The protocols whose papers show those choices beside every set."""


def baselines(teachers: Sequence[Teacher], data: RealData) -> list[str]:
    """Return references to as many real images of each class as the teachers store.

    Args:
        teachers: Those without as many stored images of every class, or with more than there are real ones, ask for
            none.
        data: The real data.
    """
    most = int(data.train.labels.bincount(minlength=data.description.num_classes).min())
    sizes = {counts[0] for one in teachers if (counts := one.label_counts) and min(counts) == max(counts)}
    return [f"real:{choice}={size}" for size in sorted(sizes) if 0 < size <= most for choice in BASELINES]
