"""The teacher that stored values make, with what decodes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.decodes import Decode
from gendistill.teacher.base import Teacher
from gendistill.teacher.generated import Generated
from gendistill.teacher.generator import GeneratorTeacher
from gendistill.teacher.stored import Order, StoredImages


@torch.no_grad()
def teacher_of(
    decode: Decode,
    values: Tensor,
    labels: Tensor,
    description: Description,
    *,
    classes: Tensor | None = None,
    order: Order = "stratified",
    batch_size: int | None = None,
    images_at_once: int | None = None,
    learning_rates: Tensor | None = None,
    momenta: Tensor | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Teacher:
    """Return a teacher that stores values as they were distilled.

    Args:
        decode: What makes images of them. Of a generator's latents the teacher is that generator; the features of one
            of its layers, which are larger than images, become images.
        values: (N, *stored_shape); not copied.
        labels: (N,) or (N, K), of the values.
        description: The data set, in the normalisation of the images.
        classes: (N,) what a generator is told; None: the likeliest class of the labels.
        order: See :class:`~gendistill.teacher.StoredImages`.
        batch_size: Values a step where they belong to steps; None: as many as are asked for.
        images_at_once: Images a step where any of them may be in one; of a generator's latents it is not kept.
        learning_rates: See :class:`~gendistill.teacher.Teacher`.
        momenta: See there.
        metadata: See there.
    """
    schedules: dict[str, Any] = {"learning_rates": learning_rates, "momenta": momenta, "metadata": metadata}
    teacher: Teacher
    if isinstance(decode, Generated):
        told = classes if classes is not None else (labels.argmax(-1) if labels.is_floating_point() else labels)
        if decode.layer is None:
            own = None if torch.equal(told, labels) else told
            if batch_size is not None:
                values, labels = values.unflatten(0, (-1, batch_size)), labels.unflatten(0, (-1, batch_size))
                own = None if own is None else own.unflatten(0, (-1, batch_size))
            teacher = GeneratorTeacher(
                decode.source.network,
                decode.source.description,
                latents=values,
                labels=labels,
                conditions=own,
                shuffle="none" if order == "fixed" else "all",
                batch_norm=decode.source.batch_norm,
                **schedules,
            )
        else:
            images = torch.cat([decode(some, at) for some, at in zip(values.split(256), told.split(256), strict=True)])
            teacher = StoredImages(images, labels, description, order=order, batch_size=batch_size, **schedules)
    else:
        decode = decode.fitted(values)
        size = images_at_once if batch_size is None else batch_size * decode.cells
        teacher = StoredImages(
            decode.packed(values), labels, description, decode=decode, order=order, batch_size=size, **schedules
        )
    return teacher
