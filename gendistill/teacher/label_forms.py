"""What a tensor of labels says: class indices, probabilities, logits, several classes at once, or plain targets.

All of them may have the same shape. So a stranger's labels are looked at before they are believed: what their values
leave no doubt of is decided, and the rest is asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.finite import check_finite
from gendistill.teacher.base import check_labels
from gendistill.teacher.torch_files import usual

LABELS = ("auto", "indices", "probabilities", "logits", "multi-hot", "targets")
"""``targets`` are real numbers that the cross-entropy takes as they are, as soft-label distillation learns them."""

SUM = 1e-2
"""How far the sum of a row of probabilities may be from 1: numbers are stored in half precision, or with few digits."""
ALIKE = 1e-3
"""Relative distance up to which the sums of rows are the same."""
ZERO = 1e-6
"""What counts as 0 where rounding may have left a trace."""
SAVE = "save labels (N,) of class indices, or (N, K) with one number a class"


class Labels(NamedTuple):
    """Labels that are understood.

    Attributes:
        values: (N,) int64 class indices, or (N, K) float32 targets of the cross-entropy.
        form: One of :data:`LABELS` but ``auto``: what the file held.
        words: What was understood and done, for a person.
    """

    values: Tensor
    form: str
    words: str


def understand_labels(
    labels: Tensor, count: int, description: Description, form: str = "auto", *, used_as: str | None = None
) -> Labels:
    """Return labels as the cross-entropy needs them.

    Args:
        labels: As a file holds them: (N,), (N, 1) or (N, K), of any type of numbers.
        count: Number of images N.
        description: Gives the K classes.
        form: One of :data:`LABELS`; ``auto``: by their values, and where those leave a choice by ``used_as``.
        used_as: What the code that wrote the file takes such labels for, ``logits`` or ``targets``; None: not known.

    Raises:
        UserError: They are not what they are called, or may be more than one thing.
    """
    if labels.is_complex():
        raise UserError(f"labels are complex numbers; {SAVE}")
    labels = check_finite("labels", usual(labels.detach()), SAVE)
    if labels.shape == (count, 1):
        labels = labels.squeeze(1)
    if labels.ndim == 1:
        return _indices(labels, count, description, form)
    if tuple(labels.shape) != (count, description.num_classes):
        raise UserError(
            f"labels have shape {tuple(labels.shape)}, which fits neither {count} images nor {count} images with "
            f"{description.num_classes} classes; {SAVE}"
        )
    rows = labels.to(torch.float32)
    found = _form(rows, used_as) if form == "auto" else form
    return _as(found, rows)


def _indices(labels: Tensor, count: int, description: Description, form: str) -> Labels:
    if form not in ("auto", "indices"):
        raise UserError(
            f"labels of shape {tuple(labels.shape)} are one number an image and not {form}, which have one a class; "
            "choose indices"
        )
    whole = labels.to(torch.int64)
    if labels.dtype == torch.bool or not bool((whole == labels).all()):
        raise UserError(f"labels must be integers where there is one an image, these are not: {labels[:3].tolist()}...")
    if len(whole) and int(whole.min()) >= 1 and int(whole.max()) == description.num_classes:
        raise UserError(
            f"labels go from {int(whole.min())} to {int(whole.max())}, class indices of '{description.name}' from 0 to "
            f"{description.num_classes - 1}; if they count from 1, subtract 1 and save them again"
        )
    return Labels(check_labels(whole, (count,), description), "indices", "class indices")


def _form(rows: Tensor, used_as: str | None) -> str:
    """Decide what rows (N, K) are by their values."""
    lowest, highest = float(rows.min()), float(rows.max())
    whole = _sums_are_one(rows)
    if lowest >= -ZERO:
        if whole:
            return "probabilities"
        if bool(((rows == 0) | (rows == 1)).all()):
            return "multi-hot"
        sums = rows.sum(1)
        # Logits do not sum to one and the same number; weights and per cent do.
        alike = len(rows) > 1 and float(sums.max() - sums.min()) <= ALIKE * float(sums.max())
        if used_as is not None and not (used_as == "logits" and alike):
            return used_as
        raise UserError(
            f"labels are numbers from {lowest:.3g} to {highest:.3g}, a row sums to {float(sums.min()):.3g} to "
            f"{float(sums.max()):.3g}: they may be logits or weights of classes; say which with --labels logits "
            "(softmax is taken), --labels multi-hot (each row is divided by its sum) or --labels targets (as they are)"
        )
    if used_as is not None:
        return used_as
    if whole:
        raise UserError(
            f"labels have rows that sum to 1 with numbers down to {lowest:.3g}: they may be logits or learned targets; "
            "say which with --labels logits (softmax is taken) or --labels targets (as they are)"
        )
    return "logits"


def _as(form: str, rows: Tensor) -> Labels:
    lowest, sums = float(rows.min()), rows.sum(1)
    if form == "targets":
        return Labels(rows, form, "targets of the cross-entropy, as they are")
    if form == "logits":
        of_probabilities = float(rows.max()) <= ZERO and _sums_are_one(rows.exp())
        words = "logarithms of probabilities" if of_probabilities else "logits"
        return Labels(rows.softmax(1), form, f"{words}, of which the softmax is taken")
    if form == "indices":
        one = bool(((rows == 0) | (rows == 1)).all()) and bool((sums == 1).all())
        if not one:
            raise UserError("labels with one number a class are no class indices; choose another form, or auto")
        return Labels(rows.argmax(1), form, "class indices, one-hot")
    if lowest < -ZERO:
        raise UserError(
            f"labels have numbers down to {lowest:.3g}, {form} are not negative; choose logits or targets, or auto"
        )
    if form == "probabilities":
        if not _sums_are_one(rows):
            raise UserError(
                f"labels have rows that sum to {float(sums.min()):.3g} to {float(sums.max()):.3g}, probabilities sum "
                "to 1; choose logits, multi-hot or targets"
            )
        return Labels(rows, form, "probabilities")
    empty = int((sums <= ZERO).sum())
    if empty:
        raise UserError(f"{empty} of {len(rows)} labels name no class at all; leave those images out")
    several = int((rows > ZERO).sum(1).max())
    return Labels(rows / sums[:, None], form, f"multi-hot, up to {several} classes an image, rows divided by their sum")


def _sums_are_one(rows: Tensor) -> bool:
    return bool(((rows.double().sum(1) - 1).abs() <= SUM).all())
