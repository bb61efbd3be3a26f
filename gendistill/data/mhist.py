"""MHIST: 3,152 images of colorectal polyps, 224x224, hyperplastic or sessile serrated, from local files alone."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from gendistill import budget
from gendistill.data.description import Description
from gendistill.data.folder import measure
from gendistill.data.layout import Part
from gendistill.data.picture_stack import Wish, read_parts
from gendistill.data.real import RealData, Split
from gendistill.data.split import hold_out, missing_classes, validation_size
from gendistill.errors import UserError
from gendistill.regular import regular
from gendistill.spelling import option

ANNOTATIONS = "annotations.csv"
CLASS_NAMES = ("HP", "SSA")
"""Hyperplastic polyp (benign) and sessile serrated adenoma (precancerous), by the majority of seven pathologists."""

IMAGE, LABEL, PARTITION = "Image Name", "Majority Vote Label", "Partition"
PARTITIONS = ("train", "test")


def load_mhist(
    root: Path, *, image_size: int | None = None, channels: int | None = None, background: str | None = None
) -> RealData:
    """Load MHIST from ``annotations.csv`` and the folder ``images`` beside it.

    They are looked for in ``root``, ``root/mhist`` and ``root/MHIST``. Nothing is downloaded: the set is given out on
    request at https://bmirds.github.io/MHIST. A tenth of the training images is held out for validation, stratified by
    the constant seed of :mod:`gendistill.data.split`.

    Args:
        root: Where data sets are kept.
        image_size: Height and width in pixels that images are brought to; None: 224 as they are.
        channels: 1 for grey, 3 or None for colour.
        background: What transparent pixels let through; see :func:`gendistill.data.folder.load_folder`.

    Returns:
        The data; the normalisation is the mean and standard deviation of its training pixels.

    Raises:
        UserError: Files are missing or damaged.

    Source:
        Wei et al. 2021, "A Petri Dish for Histopathology Image Analysis".
    """
    wish = Wish.of(image_size, channels or 3, background)
    places = (root, root / "mhist", root / "MHIST")
    folder = next((place for place in places if (place / ANNOTATIONS).is_file()), None)
    if folder is None:
        raise UserError(
            f"MHIST is not there and cannot be downloaded; ask for it at https://bmirds.github.io/MHIST and put "
            f"{ANNOTATIONS} and the folder images into '{root / 'mhist'}', or name another folder with "
            f"{option('root')} or GENDISTILL_DATA"
        )
    listed = _read_annotations(folder / ANNOTATIONS)
    parts = {part: _part(folder / "images", listed[part]) for part in PARTITIONS}
    images, said = read_parts(parts, wish)
    train, test = (Split(images[part], torch.tensor(parts[part].labels)) for part in PARTITIONS)
    rest, held = hold_out(train.labels, validation_size(len(train)))
    training, validation = (Split(train.images[index], train.labels[index]) for index in (rest, held))
    if not len(validation):
        raise UserError(f"'{folder / ANNOTATIONS}' lists {len(train)} training images; a class needs two or more")
    _, channel_count, height, width = train.images.shape
    description = Description("mhist", CLASS_NAMES, (channel_count, height, width), measure(training.images))
    labels = {"train": training.labels, "validation": validation.labels, "test": test.labels}
    notes = (*(f"pictures of 'mhist': {one}" for one in said), *missing_classes(labels, CLASS_NAMES))
    return RealData(description, training, validation, test, notes)


def _read_annotations(path: Path) -> dict[str, list[tuple[str, int]]]:
    """Return file names and labels of each partition."""
    parts: dict[str, list[tuple[str, int]]] = {part: [] for part in PARTITIONS}
    budget.check_file(regular(path), budget.TEXT)
    meter = budget.Meter(f"the table {budget.quoted(path)}", budget.size_of(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(budget.counted_rows(csv.DictReader(file), meter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' cannot be read ({error}); fetch MHIST's file again") from error
    for number, row in enumerate(rows, 2):
        name, label, part = (row.get(column) for column in (IMAGE, LABEL, PARTITION))
        if not name or label not in CLASS_NAMES or part not in PARTITIONS or Path(name).name != name:
            raise UserError(
                f"line {number} of '{path}' needs a file name in '{IMAGE}', {' or '.join(CLASS_NAMES)} in '{LABEL}' "
                f"and {' or '.join(PARTITIONS)} in '{PARTITION}', it has {name!r}, {label!r} and {part!r}"
            )
        parts[part].append((name, CLASS_NAMES.index(label)))
    for part, listed in parts.items():
        if {label for _, label in listed} != set(range(len(CLASS_NAMES))):
            raise UserError(f"'{path}' lists no images of one of the classes for '{part}'; fetch MHIST's file again")
    return parts


def _part(folder: Path, listed: list[tuple[str, int]]) -> Part:
    for name, _ in listed:
        if not (folder / name).is_file():
            raise UserError(f"'{folder / name}' is not there; unpack all of MHIST's images into '{folder}'")
    return Part([folder / name for name, _ in listed], [label for _, label in listed])
