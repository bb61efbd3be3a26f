"""Where a teacher meets real data: what cannot belong together is refused, classes in another order are mapped."""

from __future__ import annotations

from dataclasses import replace

import torch

from gendistill.data.classes import listed
from gendistill.data.description import Description, check_fits
from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.teacher.base import Teacher
from gendistill.teacher.identity import checksum

KEY = "classes"
"""Where the metadata of a teacher that was fitted say how its classes were taken."""
PAIRS = ("poisoned",)
"""Metadata that name classes by number, as ``source`` and ``target``."""


def fitted(teacher: Teacher, real: Description, name: str | None = None) -> Teacher:
    """Return a teacher whose labels count the classes as the real data does, or refuse it.

    Every evaluator and every trainer that takes a teacher calls this; what is fitted already comes back as it is.

    Args:
        teacher: The teacher; it stays what it is.
        real: The real data.
        name: What the user calls the teacher.

    Returns:
        The teacher itself where the classes are the same; else one with the data's class names, whose labels are mapped
        where the order differs. Its metadata say so under :data:`KEY`, and a person is told.

    Raises:
        UserError: Classes, image shape or vocabulary differ, or classes in another order cannot be mapped.
    """
    fit = check_fits(teacher.description, real, name)
    if tuple(teacher.description.class_names) == tuple(real.class_names):
        return teacher
    names = teacher.description.class_names
    described = replace(teacher.description, class_names=tuple(real.class_names))
    if fit.order is not None:
        _check_order_is_free(teacher, name)
    found = teacher.in_order(torch.tensor(fit.order or range(real.num_classes)), described)
    found.metadata = dict(teacher.metadata)
    found.fitted_from = checksum(teacher)
    if found.labeller is not None and fit.order is not None:
        found.labeller = found.labeller.in_order(fit.order)
    if fit.order is not None:
        for key in PAIRS:
            if pair := found.noted(key, dict):
                known = {end: place for end in ("source", "target") if type(place := pair.get(end)) is int}
                moved = {end: fit.order[place] for end, place in known.items() if 0 <= place < len(fit.order)}
                found.metadata[key] = pair | moved
    if fit.note is not None:
        called = "the teacher's classes" if name is None else f"the classes of teacher '{name}'"
        mapped = f"; its labels are mapped to those of '{real.name}'" if fit.order is not None else ""
        sentence = f"{called} {fit.note}{mapped}"
        found.metadata[KEY] = {"names": list(names), "note": sentence}
        note(sentence)
    return found


def _check_order_is_free(teacher: Teacher, name: str | None) -> None:
    """Refuse another order where learners' first weights, and so the meaning of their outputs, are given."""
    initial, pretraining = (teacher.metadata.get(key) for key in ("initialisation", "pretraining"))
    fixed = isinstance(initial, dict) and initial.get("fixed_layers")
    known = isinstance(pretraining, dict) and pretraining.get("networks") == 1
    if fixed or known:
        called = "the teacher" if name is None else f"teacher '{name}'"
        raise UserError(
            f"{called} was made for learners whose first weights are given, with the classes in the order "
            f"{listed(teacher.description.class_names)}; bring the real data's classes into that order"
        )
