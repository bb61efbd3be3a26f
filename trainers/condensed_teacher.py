"""What batch condensation gives: stored images, or a generator with the latents found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gendistill.data.description import Description
from gendistill.teacher import GeneratorTeacher, StoredImages, Teacher
from gendistill.teacher.stored import Order


def condensed_teacher(
    values: Tensor,
    labels: Tensor,
    classes: Tensor,
    *,
    source: GeneratorTeacher | None,
    description: Description,
    order: Order,
    metadata: Mapping[str, Any],
) -> Teacher:
    """Return condensed batches as a teacher: stored images, or the generator with its latents as a curriculum.

    Args:
        values: The images (T, S, C, H, W), or with a generator its latents (T, S, nz).
        labels: (T, S) or (T, S, K).
        classes: (T, S) what the generator is told.
        source: The generator; None: images were condensed themselves.
        description: The data set.
        order: ``fixed``: batches are shown as they were condensed.
        metadata: See :class:`gendistill.teacher.Teacher`.
    """
    fixed = order == "fixed"
    if source is None:
        return StoredImages(
            values.flatten(0, 1),
            labels.flatten(0, 1),
            description,
            order=order,
            batch_size=labels.shape[1] if fixed else None,
            metadata=metadata,
        )
    return GeneratorTeacher(
        source.network,
        source.description,
        latents=values,
        labels=labels,
        conditions=classes,
        shuffle="none" if fixed else "all",
        batch_norm=source.batch_norm,
        metadata=metadata,
    )
