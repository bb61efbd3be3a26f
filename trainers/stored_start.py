"""Distillation that begins with images that are there already: an earlier result, an imported set, a coreset."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gendistill import shipped
from gendistill.data.real import RealData
from gendistill.decodes import Decode, Identity
from gendistill.errors import UserError, did_you_mean
from gendistill.runs.context import RunContext
from gendistill.spelling import typed
from gendistill.teacher import StoredImages, Teacher, open_teacher
from trainers.decoding import encoded

FORMS = (
    "a teacher file, a run directory, a set that comes with the project, a folder of images or an export, or real "
    "images such as real:kcenter=10"
)


class Stored(NamedTuple):
    """Images to begin with.

    Attributes:
        images: (N, C, H, W), in the normalisation of the data.
        labels: (N, K) soft labels; None: hard ones, or none that count.
    """

    images: Tensor
    labels: Tensor | None


def check_start(option: str, word: str, words: Collection[str]) -> None:
    """Refuse what is neither one of an option's words nor looks like the name of stored images.

    Raises:
        UserError: Names the option, the word and what is allowed.
    """
    if word not in words and not is_stored(word, words):
        raise UserError(
            f"{option} is '{word}'; {did_you_mean(str(word), words)}choose one of {', '.join(words)}, or give {FORMS}"
        )


def is_stored(word: str, words: Collection[str]) -> bool:
    """Return whether an option names images that are stored somewhere. The place may be gone when a run goes on."""
    named = any(mark in str(word) for mark in "/\\.:") or Path(word).exists() or shipped.name_of(word) is not None
    return word not in words and named


def stored_images(
    reference: str,
    images_per_class: int,
    data: RealData,
    run: RunContext,
    *,
    as_stored: bool = False,
    decode: Decode | None = None,
    option: str = "images_per_class",
) -> Stored:
    """Read the images that a new run begins with.

    A run that is continued has them in its state, and the file is not looked at again: it gets zeros.

    Args:
        reference: What :func:`gendistill.teacher.open_teacher` takes; it must hold its images.
        images_per_class: M, images of each class, by the likeliest class of soft labels.
        data: The data set that they must fit.
        run: The run.
        as_stored: Soft labels are kept, and with them the order of the file; only the number M * K counts then.
        decode: What makes images of stored values. A file that stores values for the same one gives them as they are;
            any other gives as many images as they show, which are brought into their form.
        option: What M is called in sentences.

    Returns:
        M * K images: classes in turn, those of a class in the order of the file. Where soft labels are to be kept and
        are there, in the order of the file.

    Raises:
        UserError: They cannot be read, are of another shape or other classes, or not so many.
    """
    description, device = data.description, data.train.images.device
    decode = Identity().prepare(description) if decode is None else decode
    count = images_per_class * description.num_classes
    if run.directory.has_state:
        return Stored(torch.zeros((count, *decode.stored_shape), device=device), None)
    teacher = open_teacher(reference, data, seed=run.options.seed)
    if teacher.images_stored is None:
        shown = count * (1 if decode is None else decode.cells)
        words = ("--format", "safetensors", "--count", str(shown), "--output", f"{shown}-images")
        raise UserError(
            f"'{reference}' makes fresh images without end; export some of them and begin with those: "
            f"{typed('export', str(reference), *words)}"
        )
    images, labels, ready = stored_values(teacher, decode)
    images = teacher.description.normalisation.convert(images, description.normalisation).to(device)
    cells = 1 if ready else decode.cells
    each = f", {cells} in each that is stored" if cells > 1 else ""
    soft = labels.to(device) if labels.is_floating_point() else None
    if as_stored and soft is not None:
        if len(images) != count * cells:
            advice = _advice(len(images), description.num_classes * cells, option)
            raise UserError(
                f"'{reference}' holds {len(images)} images, {option} {images_per_class} asks for {count * cells} of "
                f"{description.num_classes} classes{each}; {advice}"
            )
        return Stored(_encoded(decode, images, ready, reference), soft.unflatten(0, (-1, cells)).mean(1))
    classes = labels.argmax(-1) if soft is not None else labels
    counts = torch.bincount(classes.cpu(), minlength=description.num_classes)
    if bool((counts != images_per_class * cells).any()):
        least, most = int(counts.min()), int(counts.max())
        held = f"{least}" if least == most else f"{least} to {most}"
        held_in_all = least * description.num_classes if least == most else 1
        advice = _advice(held_in_all, description.num_classes * cells, option)
        asked = f"{option} asks for {images_per_class * cells}{each}"
        raise UserError(f"'{reference}' holds {held} images of each class, {asked}; {advice}")
    values = _encoded(decode, images[classes.argsort(stable=True).to(device)], ready, reference)
    # (K, M) -> (M, K): classes in turn.
    return Stored(values.unflatten(0, (description.num_classes, -1)).transpose(0, 1).flatten(0, 1), None)


def stored_values(teacher: Teacher, decode: Decode) -> tuple[Tensor, Tensor, bool]:
    """Return what a teacher gives to begin with, its labels, and whether these are stored values already."""
    if isinstance(teacher, StoredImages) and teacher.decode is not None and decode.takes(teacher.decode):
        values = teacher.values(torch.arange(teacher.images_stored, device=teacher.device))
        return values, teacher.labels_of_stored, True
    return *teacher.everything(), isinstance(decode, Identity)


def _encoded(decode: Decode, images: Tensor, ready: bool, reference: str) -> Tensor:
    return images if ready else encoded(decode, images, f"images of '{reference}'")


def log_probabilities(labels: Tensor, reference: str) -> Tensor:
    """Return logits (N, K) whose softmax soft labels are.

    Raises:
        UserError: They are no probabilities.
    """
    if bool((labels < 0).any()) or bool(((labels.sum(1) - 1).abs() > 1e-2).any()):
        raise UserError(
            f"the labels of '{reference}' are no probabilities, so they cannot be learned on; use labels hard"
        )
    return labels.clamp(min=1e-12).log()


def _advice(count: int, classes: int, option: str) -> str:
    if count % classes or not count:
        return "give a set with equally many of each class"
    flag = f" (--trainer.{option} {count // classes})" if option.isidentifier() else ""
    return f"set {option} to {count // classes}{flag}"
