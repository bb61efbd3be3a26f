"""Epochs of a teacher: how many images make one, how many updates they are, and where to measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gendistill import budget
from gendistill.errors import UserError
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.stored import StoredImages

TRAIN, FRESH = "train", "fresh"
PART = 256
"""Images made at a time, about."""
MEASUREMENT = 1000
"""Bytes that a measurement of a learner takes at least, with its place in the result."""
Generated = int | str


@dataclass(frozen=True)
class Epoch:
    """One pass over a teacher.

    Attributes:
        images: Images that it stands for.
        updates: Learner updates that it takes. The last batch of a pass is counted whole: batches are cut from one
            endless row of passes, so that every batch is full and no image is dropped.
    """

    images: int
    updates: int


def one_epoch(teacher: Teacher, batch_size: int, training_images: int) -> Epoch:
    """Return what an epoch of a teacher is.

    Args:
        teacher: One with stored images counts what it shows of them; a curriculum counts its batches; one that makes
            fresh images without end has epochs as long as those of the real training set.
        batch_size: Images an update, at least 1.
        training_images: Size of the real training set.
    """
    images = teacher.decoded_images or training_images
    if getattr(teacher, "curriculum", False):
        return Epoch(images, len(teacher.latents))  # type: ignore[attr-defined]
    own = teacher.batch_size if isinstance(teacher, StoredImages) else None
    return Epoch(images, -(-images // (own or batch_size)))


def with_images(teacher: Teacher, generated: Generated, training_images: int) -> Teacher:
    """Return a teacher without end as so many images, drawn once and balanced over the classes; others as they are.

    They are the same for all learners, as a folder of generated pictures is.

    Args:
        teacher: The teacher.
        generated: A number of images, ``train`` (as many as there are real training images) or ``fresh`` (the teacher
            as it is, which makes new images for every batch).
        training_images: Size of the real training set.

    Raises:
        UserError: ``generated`` is none of these.
    """
    if generated == TRAIN:
        generated = training_images
    if generated != FRESH and (isinstance(generated, bool) or not isinstance(generated, int) or generated < 1):
        raise UserError(
            f"generated is {generated!r}; give a number of images, '{TRAIN}' for as many as there are real training "
            f"images, or '{FRESH}' for new ones in every batch"
        )
    if teacher.images_stored is not None or not isinstance(generated, int):
        return teacher
    what = f"{generated:,} generated images of shape {teacher.description.image_shape}"
    needed = 2 * 4 * generated * math.prod(teacher.description.image_shape)
    budget.check_memory(needed, what, f"give a smaller number as generated, or '{FRESH}'")
    # Parts of as many images of every class, so that the whole is balanced, too.
    part = max(1, PART // teacher.description.num_classes) * teacher.description.num_classes
    generator = stream(0, "evaluation/generated", teacher.device)
    drawn = [teacher.sample(min(part, generated - start), generator) for start in range(0, generated, part)]
    found = StoredImages(
        torch.cat([images for images, _ in drawn]),
        torch.cat([labels for _, labels in drawn]),
        teacher.description,
        learning_rates=teacher.learning_rates,
        momenta=teacher.momenta,
        metadata=teacher.metadata,
        order="stratified",
    )
    found.labeller = teacher.labeller
    return found


def measuring_points(updates: Sequence[int], epoch: Epoch, epochs: int, measure_every: int) -> list[int]:
    """Return the numbers of updates to measure at, ascending.

    Args:
        updates: Chosen numbers of updates; those after the last epoch are left out.
        epoch: What an epoch is.
        epochs: Epochs of the whole training, at least 1.
        measure_every: Epochs between two measurements, from 0 epochs on; 0 measures after the last one alone.

    Raises:
        UserError: A number out of range.
    """
    for name, value, least in (("epochs", epochs, 1), ("measure_every", measure_every, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name} is {value!r}; give a whole number of at least {least}")
    total = epochs * epoch.updates
    count = epochs // measure_every if measure_every else 0
    what = f"measuring {count:,} times in {epochs:,} epochs"
    budget.check_memory(MEASUREMENT * count, what, "give a larger measure_every")
    ends = range(measure_every, epochs + 1, measure_every) if measure_every else ()
    return sorted({*(count for count in updates if count <= total), *(end * epoch.updates for end in ends), total})
