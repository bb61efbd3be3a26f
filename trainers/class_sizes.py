"""Classes that have fewer training images than an option asks for: taken whole with a note, or refused by name."""

from __future__ import annotations

from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError
from gendistill.notes import note


def taken_whole(classes: ClassSampler, per_class: int, option: str, *, again: bool = False) -> bool:
    """Return whether some class has fewer images than a step takes, and say that all of them are taken.

    Args:
        classes: The training images by class.
        per_class: Images of each class that a step takes.
        option: What says so, as it is called in a sentence, such as ``--trainer.real_batch``.
        again: Whether they are taken again from the first until there are enough.
    """
    if few := classes.fewer_than(per_class):
        all_of_them = "all are taken, and again from the first" if again else "all are taken"
        note(f"{option} is {per_class}, but {few}: of such a class {all_of_them}")
    return bool(few)


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
