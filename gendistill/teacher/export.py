"""A teacher's images in the forms that other programs read. See docs/teacher-file.md."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gendistill.budget import check_memory
from gendistill.data.description import Description, Normalisation
from gendistill.decodes import Formation
from gendistill.errors import UserError, did_you_mean
from gendistill.files import new_folder
from gendistill.seeds import stream
from gendistill.teacher import export_formats, public_formats
from gendistill.teacher.base import Teacher
from gendistill.teacher.card import write_card
from gendistill.teacher.files import describe_teacher
from gendistill.teacher.own_exports import EMBEDDING_FILE, NOTES
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.sums import write_sums
from gendistill.teacher.torch_files import own, write
from gendistill.words import byte_size

FORMATS: dict[str, Callable[[StoredImages, Path], dict[str, Any]]] = {
    "png": export_formats.write_png,
    "pt": export_formats.write_pt,
    "parquet": export_formats.write_parquet,
    "safetensors": export_formats.write_safetensors,
    "hub": export_formats.write_parquet,
    "dc": public_formats.write_dc,
    "mtt": public_formats.write_mtt,
    "datm": public_formats.write_datm,
    "dd": public_formats.write_dd,
    "idc": public_formats.write_idc,
}
AS_STORED = ("safetensors", "idc")
"""Formats that can say what stored images are decoded by; in all others the decoded ones are written."""
ROUNDED = ("safetensors", "hub")
"""Formats that keep the teacher itself, whose values may be bytes."""
WHITENED = ("safetensors", "mtt", "datm")
"""Formats that can say how images were whitened; in all others the whitening is inverted."""
PICTURES = ("png", "parquet")
"""Formats that hold nothing but 8-bit pictures; ``hub`` has the teacher beside them."""
COPIES = 2
"""Of drawn images in memory: as they are drawn, and as they are written."""


def export(
    teacher: Teacher,
    path: str | Path,
    format: str = "png",
    *,
    count: int | None = None,
    generator: torch.Generator | None = None,
    normalisation: Normalisation | None = None,
    licence: str | None = None,
    facts: Mapping[str, str] | None = None,
    bits: int = 32,
) -> dict[str, Any]:
    """Write a teacher's images to a new folder, with a data card and the teacher's notes beside them.

    Args:
        teacher: Any teacher.
        path: The folder; it must not exist or be empty. It appears complete or not at all.
        format: ``png``, ``pt``, ``parquet``, ``safetensors``, ``hub`` (Parquet with the teacher itself and checksums),
            or that of the public code of a method: ``dc`` (DC, DSA,
            DM), ``mtt``, ``datm``, ``dd``, ``idc``.
        count: Images to draw, balanced over classes. ``None``: all stored ones, in stored order.
        generator: Draws them. ``None``: the stream of seed 0, so that the same images are drawn each time.
        normalisation: What images in ``pt``, ``safetensors`` and the public formats are normalised by. ``None``: for
            ``safetensors`` the teacher's own, for the others what public evaluators use for the data set
            (the teacher's own for other data). A whitening is inverted but in ``safetensors``, ``mtt`` and ``datm``.
        licence: Of the source data, for the card. None: what is known of the data set.
        facts: Further lines of the card's table, such as accuracies.
        bits: Of each stored value in ``safetensors`` and ``hub``: 32, or 8, a quarter of the bytes.

    Returns:
        ``format``, ``path``, ``images``, ``images_per_class``, ``normalisation`` and what the format adds: for ``png``
        and ``parquet`` ``max_quantisation_error``, the largest change of a pixel by clipping to [0, 1] and rounding to
        8 bits, and ``clipped``, the share of values outside [0, 1].
        ``lost``: sentences that say what does not come back from the folder, or what the readers of a public format do
        not see.

    Raises:
        UserError: An unknown format, a folder that is not empty, a count that is missing, pyarrow not installed, soft
            labels or rates that the format cannot hold.
        StorageError: The folder cannot be written; nothing is left behind.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format '{format}'; {did_you_mean(format, FORMATS)}choose one of {', '.join(FORMATS)}")
    if bits not in (8, 32):
        raise UserError(f"bits is {bits!r}; a stored value has 8 or 32")
    if bits == 8 and format not in ROUNDED:
        raise UserError(
            f"8 bits a stored value go with {' and '.join(ROUNDED)}; format '{format}' has a form of its own"
        )
    path = Path(path)
    _check_free(path)
    whole = images = materialise(teacher, count, generator)
    if format not in AS_STORED or (format == "idc" and not isinstance(images.decode, Formation)):
        images = images.decoded()
    if format == "idc":
        images = images.unrounded()
    if format != "safetensors" and images.labeller is not None:
        images = copy.copy(images)
        images.labeller = None
    normalisation = normalisation or _usual(format, images.description)
    if normalisation != images.description.normalisation:
        images = renormalise(images, normalisation)
    exact = whole if format == "hub" else images
    if bits == 8:
        whole, images = whole.in_eight_bits(), images if format == "hub" else images.in_eight_bits()
    with new_folder(path) as folder:
        added = FORMATS[format](images, folder)
        shown = images
        if format == "hub":  # pictures for everybody, and beside them the teacher as it is stored
            added["files"] = sorted([*added["files"], *export_formats.write_safetensors(whole, folder)["files"]])
            images = whole
        if images.description.embedding is not None and format not in ("safetensors", "hub", *PICTURES):
            table = images.description.embedding.tensors()
            write(folder / EMBEDDING_FILE, {name.rpartition(".")[2]: own(tensor) for name, tensor in table.items()})
            added["files"] = sorted([*added["files"], EMBEDDING_FILE])
        result = {
            "format": format,
            "path": str(path),
            "images": shown.images_stored,
            "images_per_class": shown.label_counts,
            "normalisation": shown.description.to_dict()["normalisation"],
            "lost": _lost(teacher, images, format) + _rounded(exact, whole if format == "hub" else images),
        } | added
        notes = describe_teacher(images) | {"exported_from": teacher.kind, "export": result | {"path": path.name}}
        for name in ("learning_rates", "momenta"):
            if (values := getattr(images, name)) is not None:
                notes[name] = values.tolist()
        (folder / NOTES).write_text(json.dumps(notes, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if format == "hub":
            result["sha256"] = write_sums(folder)
        write_card(folder, images, notes, licence=licence, facts=facts or {}, sums=result.get("sha256", {}))
    return result


def materialise(teacher: Teacher, count: int | None = None, generator: torch.Generator | None = None) -> StoredImages:
    """Return a teacher's images as stored images on the CPU.

    Args:
        teacher: Any teacher.
        count: Images to draw, balanced over classes. ``None``: all, in order, with the learned rates.
        generator: Draws them. ``None``: the stream of seed 0.

    Returns:
        The images. A curriculum keeps its order; it is shown the same way with its own batch size.

    Raises:
        UserError: A count below 1 or of more images than there is memory for, or none for a teacher that makes fresh
            images without end.
    """
    if count is None:
        if isinstance(teacher, StoredImages):
            return teacher
        images, labels = teacher.everything()
        ordered = getattr(teacher, "curriculum", False)
        whole = StoredImages(
            images.cpu(),
            labels.cpu(),
            teacher.description,
            order="fixed" if ordered else "stratified",
            learning_rates=teacher.learning_rates,
            momenta=teacher.momenta,
            metadata=teacher.metadata,
        )
        whole.labeller = teacher.labeller
        return whole
    if count < 1:
        raise UserError(f"the number of images to export must be at least 1, got {count}")
    shape = teacher.description.image_shape
    what = f"{count:,} images of shape {shape} to export"
    check_memory(COPIES * 4 * count * math.prod(shape), what, "ask for fewer")
    images, labels = teacher.sample(count, generator or stream(0, "export"))
    drawn = StoredImages(images.cpu(), labels.cpu(), teacher.description, metadata=teacher.metadata)
    drawn.labeller = teacher.labeller
    return drawn


def renormalise(images: StoredImages, normalisation: Normalisation) -> StoredImages:
    """Return the same images expressed in another normalisation, as float32.

    Sheets of a formation stay sheets, since what is done to them is linear; other stored values are decoded.
    """
    own = images.description.normalisation
    images = images.unrounded()
    if not isinstance(images.decode, Formation) or own.whitening is not None or normalisation.whitening is not None:
        images = images.decoded()
    found = StoredImages(
        own.convert(images.values(torch.arange(images.images_stored, device=images.device)), normalisation),
        images.labels,
        images.description.with_normalisation(normalisation),
        decode=images.decode,
        order=images.order,
        batch_size=images.batch_size,
        learning_rates=images.learning_rates,
        momenta=images.momenta,
        metadata=images.metadata,
    )
    found.labeller = images.labeller
    return found


def _lost(teacher: Teacher, images: StoredImages, format: str) -> list[str]:
    """Return what of a teacher is not in its export, one sentence each."""
    lost = []
    if teacher.images_stored is None:
        lost.append(f"{images.images_stored} images were drawn of a generator that makes fresh ones without end")
    elif teacher.decoded_images != images.decoded_images:
        lost.append(f"{images.images_stored} of {teacher.decoded_images} images were drawn")
    decode = teacher.decode if isinstance(teacher, StoredImages) else None
    if decode is not None and decode.cells == 1 and images.decode is None:
        lost.append(f"images are written, not what is stored of them ({decode.words()}); safetensors keeps that")
    elif decode is not None and images.decode is None:
        lost.append(
            f"the {teacher.decoded_images} decoded images are written, not the {teacher.images_stored} that are stored "
            f"({decode.words()}); safetensors{' and idc keep' if isinstance(decode, Formation) else ' keeps'} those"
        )
    if teacher.labeller is not None and images.labeller is None:
        lost.append("the labeller stays behind: labels are those that are stored; safetensors keeps it")
    if format in PICTURES:
        lost.append("pixels are clipped to [0, 1] and rounded to 8 bits")
    if teacher.description.normalisation.whitening is not None and images.description.normalisation.whitening is None:
        lost.append("the whitening is inverted: learners of these images see plain ones")
    if format in public_formats.PUBLIC:
        lost += public_formats.unseen(images, format)
    return lost


def _rounded(images: StoredImages, kept: StoredImages) -> list[str]:
    """Return what rounding has changed of values."""
    if kept is images:
        return []
    every = torch.arange(images.images_stored, device=images.device)
    most = float((images.values(every) - kept.values(every)).abs().max())
    return [
        f"stored values are rounded to 8 bits, by {most:.2g} standard deviations of the data at most: "
        f"{byte_size(images.bytes_stored)} become {byte_size(kept.bytes_stored)}"
    ]


def _usual(format: str, description: Description) -> Normalisation:
    """Return the normalisation of a format where none is asked for."""
    own = description.normalisation
    if format == "idc" and description.embedding is None:  # sentences are refused when they are written
        channels = description.image_shape[0]
        return Normalisation((0.0,) * channels, (1.0,) * channels)
    if own.whitening is not None and format in WHITENED:
        return own
    if format in ("pt", *public_formats.PUBLIC):
        return public_formats.normalisation(format, description.name) or own.plain()
    return own.plain()


def _check_free(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"'{path}' is there already and not an empty folder; choose another place or delete it first")
