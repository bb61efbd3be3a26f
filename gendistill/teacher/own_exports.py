"""Reads back what :func:`gendistill.teacher.export.export` wrote, in any of its formats, by the notes beside it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill import budget
from gendistill.data.description import Description, Normalisation
from gendistill.data.embedding import VECTORS, WORDS, Embedding
from gendistill.data.parquet_file import column_values, open_parquet
from gendistill.data.pictures import Blob, Source, pixels, read_picture
from gendistill.data.whitening import Whitening
from gendistill.decodes.choice import decode_from_file
from gendistill.errors import GendistillError, UserError
from gendistill.escapes import LONGEST_NAME, spreadsheet_cell
from gendistill.json_file import Is, JsonError, Keys, list_of, mapping, maybe, number, read_json, text, whole
from gendistill.regular import real_path, regular
from gendistill.teacher import files
from gendistill.teacher.base import first_line
from gendistill.teacher.label_forms import understand_labels
from gendistill.teacher.public_formats import (
    DC_FILE,
    DD_FILE,
    IDC_FILE,
    MTT_FILES,
    RATE_FILE,
    WHITENING_FILE,
    WHITENING_KEYS,
)
from gendistill.teacher.result_files import read_result
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.sums import check_sums
from gendistill.teacher.torch_files import beside, read

NOTES, INDEX = "teacher.json", "metadata.csv"
"""Beside every export: all metadata; beside PNG: file name and label of each image."""
PARQUET_FILE, TEACHER_FILE = "data/train-00000-of-00001.parquet", "teacher.safetensors"
HUB = "hub"
WHOLE = ("safetensors", HUB)
"""Formats that hold the teacher's file."""
PUBLISHED = (NOTES, PARQUET_FILE, TEACHER_FILE)
"""What a folder in the format ``hub`` is checked for."""
EMBEDDING_FILE = "embedding.pt"
"""Beside sentences as tensors: ``vectors`` and ``words``, as a teacher's file has them."""
TENSOR_FILES = {
    "pt": "images.pt",
    "mtt": MTT_FILES[0],
    "datm": MTT_FILES[0],
    "dc": DC_FILE,
    "dd": DD_FILE,
    "idc": IDC_FILE,
}
NOTED = Keys(
    required={
        "export": Keys(
            required={"format": Is(text, "the name of a format")},
            optional={"labels": Is(text, "a word"), "normalisation": Is(mapping, "an object")},
        ),
        "description": Is(mapping, "an object"),
        "images": Is(maybe(whole), "a number of images, or null"),
    },
    optional={
        "images_per_class": Is(list_of(whole), "a number of images for each class"),
        "learning_rates": Is(list_of(number), "a list of rates"),
        "momenta": Is(list_of(number), "a list of numbers"),
        "order": Is(text, "a word"),
        "batch_size": Is(whole, "a number of images"),
        "metadata": Is(mapping, "an object"),
    },
)
"""What is read of the notes."""
BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    csv.Error,
)


def read_notes(folder: Path) -> dict[str, Any] | None:
    """Return what an export notes of itself, None where a folder is none.

    Raises:
        UserError: The notes cannot be read.
    """
    file = regular(folder / NOTES)
    if not file.is_file():
        return None
    try:
        notes: dict[str, Any] = read_json(file, NOTED)
    except (JsonError, OSError) as error:
        raise UserError(
            f"'{folder}' is not a whole export: {NOTES} cannot be read ({error}); export again, or import the file "
            "without it"
        ) from error
    return notes


def check_export(folder: Path) -> None:
    """Refuse a folder that was exported to be published and has been changed since; any other one passes.

    Raises:
        UserError: Its files are not those of its checksums, or its notes cannot be read.
    """
    notes = read_notes(folder)
    if notes is not None and notes["export"]["format"] == HUB:
        try:
            check_sums(folder, PUBLISHED)
        except UserError as error:
            raise UserError(f"'{folder}' cannot be used: {first_line(error)}") from error


def read_export(folder: Path) -> StoredImages:
    """Read an export of any format: images, labels, order, rates and metadata.

    Args:
        folder: What was written; it holds ``teacher.json``.

    Raises:
        UserError: It is not whole, or its files do not hold what the notes say.
    """
    notes = read_notes(folder)
    if notes is None:
        raise UserError(f"'{folder}' is no export: it has no {NOTES}")
    form = notes["export"]["format"]
    check_export(folder)
    try:
        if form in WHOLE:
            teacher = files.load(folder / TEACHER_FILE)
            if not isinstance(teacher, StoredImages):
                raise UserError(f"{TEACHER_FILE} holds no stored images")
        else:
            teacher = _stored(folder, form, notes)
    except UserError as error:
        raise UserError(f"'{folder}' cannot be used: {first_line(error)}") from error
    except BROKEN as error:
        raise UserError(
            f"'{folder}' is not a whole export: {NOTES} and the files beside it do not fit together ({error!r}); "
            "export again"
        ) from error
    for name, noted, there in (
        ("images", notes["images"], teacher.images_stored),
        ("images of each class", notes.get("images_per_class"), teacher.label_counts),
    ):
        if noted is not None and noted != there:
            raise UserError(f"'{folder}' is not whole: {NOTES} says {name} {noted}, there are {there}; export again")
    return teacher


def noted_normalisation(folder: Path) -> Normalisation | None:
    """Return the normalisation that an export notes beside its tensors, None where nothing is noted.

    Raises:
        UserError: The notes cannot be read, or name another whitening than lies beside them.
    """
    whitening, pixels = _whitening(folder / WHITENING_FILE)
    notes = read_notes(folder)
    if notes is None:
        return pixels
    try:
        return Normalisation.from_dict(notes["export"]["normalisation"], whitening, _embedding(folder))
    except GendistillError as error:
        raise UserError(f"'{folder / NOTES}' does not fit its files: {error}") from error
    except BROKEN as error:
        raise UserError(
            f"'{folder / NOTES}' does not say how the images are normalised ({error!r}); give values"
        ) from error


def _stored(folder: Path, form: Any, notes: Mapping[str, Any]) -> StoredImages:
    """Read images and labels of a format other than a teacher's file."""
    whitening = _whitening(folder / WHITENING_FILE)[0] if form in ("mtt", "datm") else None
    description = Description.from_dict(notes["description"], whitening, _embedding(folder))
    schedules = {name: torch.tensor(notes[name]) for name in ("learning_rates", "momenta") if notes.get(name)}
    if form == "png":
        pixels, labels = _png(folder, description)
        images = description.normalisation.apply(pixels)
    elif form == "parquet":
        pixels, labels = _parquet(folder / PARQUET_FILE, description)
        images = description.normalisation.apply(pixels)
    elif form in TENSOR_FILES:
        file = folder / TENSOR_FILES[form]
        result = read_result(file, form, None)
        images = result.images.to(torch.float32)
        logits = notes["export"].get("labels") == "logits"
        labels = (
            understand_labels(result.labels, len(images), description, "logits").values if logits else result.labels
        )
        if form not in ("dd", "idc"):  # whose rates are one for each step, where the teacher may have one for all
            _compare(schedules, {"learning_rates": _rates(file), "momenta": result.momenta}, folder)
    else:
        raise UserError(f"{NOTES} names the unknown format {form!r}")
    return StoredImages(
        images,
        labels,
        description,
        decode=decode_from_file(notes["decode"]) if "decode" in notes else None,
        order=notes.get("order") or "stratified",
        batch_size=notes.get("batch_size"),
        metadata=dict(notes.get("metadata") or {}),
        **schedules,
    )


def _rates(file: Path) -> Tensor | None:
    rates, rate = beside(file, "learning_rates.pt"), beside(file, RATE_FILE)
    return rate.reshape(1) if rates is None and rate is not None else rates


def _compare(noted: Mapping[str, Tensor], there: Mapping[str, Tensor | None], folder: Path) -> None:
    for name, values in there.items():
        if values is not None and (name not in noted or not torch.equal(values, noted[name])):
            raise UserError(
                f"the {name.replace('_', ' ')} in {NOTES} are not those in the file beside it; export '{folder.name}' "
                "again"
            )


def _whitening(file: Path) -> tuple[Whitening | None, Normalisation | None]:
    """Return the whitening beside an export, and the whole normalisation that it ends; None where there is none."""
    if not file.is_file():
        return None, None
    content = read(file)
    parts: list[Any] = [content.get(key) for key in WHITENING_KEYS] if isinstance(content, dict) else []
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise UserError(f"'{file}' must hold a dictionary with the tensors {', '.join(WHITENING_KEYS)}")
    mean, matrix, pixel_mean, pixel_std = parts
    whitening = Whitening(mean, matrix)
    if pixel_mean.ndim != 1 or pixel_std.ndim != 1:
        raise UserError(f"'{file}' must have one number a channel in pixel_mean and pixel_std")
    return whitening, Normalisation(tuple(pixel_mean.tolist()), tuple(pixel_std.tolist()), whitening)


def _embedding(folder: Path) -> Embedding | None:
    file = folder / EMBEDDING_FILE
    if not file.is_file():
        return None
    content = read(file)
    keys = {"vectors": VECTORS, "words": WORDS}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), Tensor) for key in keys):
        raise UserError(f"'{file}' must hold a dictionary with the tensors {', '.join(keys)}")
    return Embedding.from_tensors({name: content[key] for key, name in keys.items()})


def _png(folder: Path, description: Description) -> tuple[Tensor, Tensor]:
    file = regular(folder / INDEX)
    meter = budget.Meter(f"'{INDEX}' and the pictures that it lists", budget.size_of(file))
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(budget.counted_rows(csv.DictReader(lines), meter))
    if not rows:
        raise UserError(f"{INDEX} lists no images; export again")
    for line, row in enumerate(rows, 2):
        known = description.class_names[int(row["label"])]
        if row.get("class_name", known) not in (known, spreadsheet_cell(known, LONGEST_NAME)):
            raise UserError(
                f"line {line} of {INDEX} has label {row['label']}, which is '{known}' in {NOTES}, and class_name "
                f"'{row['class_name']}'; export again"
            )
    names = [row["file_name"] for row in rows]
    meter.add(0, sum(budget.size_of(folder / name) for name in set(names)))
    pixels = _stacked((_inside(folder, name) for name in names), len(names), description, meter)
    if rows[0].get("soft_label"):
        return pixels, torch.tensor([json.loads(row["soft_label"]) for row in rows], dtype=torch.float32)
    return pixels, torch.tensor([int(row["label"]) for row in rows])


def _parquet(file: Path, description: Description) -> tuple[Tensor, Tensor]:
    with open_parquet(file) as opened:
        count, there = opened.metadata.num_rows, opened.schema_arrow.names
    meter = budget.Meter(f"'{PARQUET_FILE}'", budget.size_of(file))
    blobs = (
        Blob(f"image {row} of {PARQUET_FILE}", one["bytes"]) for row, one in enumerate(column_values(file, "image"))
    )
    pixels = _stacked(blobs, count, description, meter)
    soft = "soft_label" in there
    labels = list(column_values(file, "soft_label" if soft else "label"))
    return pixels, torch.tensor(labels, dtype=torch.float32) if soft else torch.tensor(labels)


def _stacked(sources: Iterable[Source], count: int, description: Description, meter: budget.Meter) -> Tensor:
    """Return pictures (N, C, H, W) uint8, N and what they take in memory counted first."""
    meter.add(count * math.prod(description.image_shape))
    return torch.stack([_picture(source, description) for source in sources])


def _inside(folder: Path, name: str) -> Path:
    file = folder / name
    if not real_path(file).is_relative_to(real_path(folder)):
        raise ValueError(f"{name} lies outside the folder")
    return file


def _picture(source: Source, description: Description) -> Tensor:
    """Return an 8-bit picture (C, H, W) of an export."""
    channels, height, width = description.image_shape
    image = read_picture(source).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        name = source if isinstance(source, Path) else source.name
        raise UserError(f"'{name}' is {image.width}x{image.height} pixels, '{description.name}' {width}x{height}")
    return torch.from_numpy(pixels(image).copy())
