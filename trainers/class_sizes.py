"""Classes that have fewer training images than an option asks for: taken whole with a note, or refused by name."""

from __future__ import annotations

import math

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
