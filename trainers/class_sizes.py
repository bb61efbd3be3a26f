"""Classes that have fewer training images than an option asks for: taken whole with a note, or refused by name."""

from __future__ import annotations

import math
from typing import Any

from gendistill.budget import check_memory
from gendistill.data.description import Description
from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError
from gendistill.notes import note

COPIES = 3
"""Of distilled images in memory: themselves, their gradient, and the momentum of their optimiser."""

PLACES = 24
"""Bytes of a drawn image's number and of what it is drawn by."""


def taken_whole(classes: ClassSampler, per_class: int, option: str, *, again: bool = False) -> bool:
    """Return whether some class has fewer images than a step takes, and say that all of them are taken.

    Args:
        classes: The training images by class.
        per_class: Images of each class that a step takes.
        option: What says so, as it is called in a sentence, such as ``--trainer.real_batch``.
        again: Whether they are taken again from the first until there are enough.
    """
    what = f"{per_class:,} images of each of {classes.num_classes:,} classes in a step"
    check_memory(PLACES * per_class * classes.num_classes, what, f"choose a smaller {option}")
    if few := classes.fewer_than(per_class):
        all_of_them = "all are taken, and again from the first" if again else "all are taken"
        note(f"{option} is {per_class}, but {few}: of such a class {all_of_them}")
    return bool(few)


def check_stored(description: Description, per_class: int, option: str = "images_per_class") -> None:
    """Refuse to distil more images than there is memory for, with their gradients and their momentum.

    Args:
        description: The data set that they stand for.
        per_class: Images of each class.
        option: What says so, an option of the trainer.

    Raises:
        UserError: There is not the memory.
    """
    count = per_class * description.num_classes
    what = f"{count:,} distilled images of shape {description.image_shape}, with gradients and momentum,"
    needed = COPIES * 4 * count * math.prod(description.image_shape)
    check_memory(needed, what, f"choose a smaller --trainer.{option}")


def lowered(trainer: Any, option: str, most: int, why: str) -> int:
    """Return the value of an option of a trainer, lowered with a note where it is too large for the data.

    A default, and what a config says, is a size for usual data. What a person has typed is meant, and is refused.

    Args:
        trainer: A trainer; its attribute of that name is lowered, too.
        option: Such as ``images_per_class``.
        most: The largest value that there can be, at least 1.
        why: What the data has, a clause such as ``class 'dog' has 9``.

    Raises:
        UserError: The option was typed, and is too large.
    """
    value: int = getattr(trainer, option)
    if value <= most:
        return value
    if option in trainer.typed:
        raise UserError(f"--trainer.{option} is {value}, but {why}; choose 1 to {most}")
    note(f"--trainer.{option} is {value}, but {why}: {most} {'is' if most == 1 else 'are'} taken")
    setattr(trainer, option, most)
    return most


def lower_images(trainer: Any, classes: ClassSampler, each: int = 1, option: str = "images_per_class") -> None:
    """Lower ``images_per_class`` of a trainer that starts from real images to what the smallest class has.

    Args:
        trainer: A trainer.
        classes: The training images by class.
        each: Real images of a class for every one of them, where a stored one shows several or each step has its own.
        option: What to lower where one an image is too many, in words.

    Raises:
        UserError: The smallest class has not even enough for one, or the option was typed.
    """
    if few := classes.fewer_than(trainer.images_per_class * each):
        require_images(classes, each, option)
        why = f"it starts from {trainer.images_per_class * each} real images of each class, and {few}"
        lowered(trainer, "images_per_class", classes.smallest // each, why)


def lowered_batch(trainer: Any, batch: int | None, count: int, what: str, unit: int = 1) -> int | None:
    """Return ``inner.batch_size`` as it fits a number of images, with a note; None stays: all of them.

    Args:
        trainer: Says what was typed, which is left to be refused.
        batch: The option.
        count: Images that there are.
        what: What they are called.
        unit: What it is to be a multiple of.
    """
    if batch is None or "inner.batch_size" in trainer.typed or (batch <= count and batch % unit == 0):
        return batch
    fits = max(min(batch, count) // unit, 1) * unit
    each = "" if unit == 1 else f" of {unit} classes"
    note(f"--trainer.inner.batch_size is {batch}, but there are {count} {what}{each}: {fits} are taken")
    return fits


def require_images(classes: ClassSampler, per_class: int, option: str = "images_per_class") -> None:
    """Refuse to start from real images where a class has fewer of them.

    Args:
        classes: The training images by class.
        per_class: Real images of each class to start from.
        option: What says so, an option of the trainer, or several in words.

    Raises:
        UserError: Names the class, how many images it has, and both ways out.
    """
    if few := classes.fewer_than(per_class):
        raise UserError(
            f"distillation starts from {per_class} real images of each class, but {few}; choose a smaller "
            f"--trainer.{option}, or start from noise: --trainer.images noise"
        )
