"""Folders of images as teachers, and the folder that an export to PNG writes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.data.folder import find_layout, measure
from gendistill.data.layout import Part
from gendistill.data.picture_stack import UnequalSizes, Wish, read_parts
from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.plain import readable
from gendistill.regular import real_path
from gendistill.spelling import option
from gendistill.teacher.own_exports import NOTES, read_export
from gendistill.teacher.stored import StoredImages


def is_image_folder(path: Path) -> bool:
    """Return whether a directory is one of our exports or holds a folder a class."""
    return (path / NOTES).is_file() or any(
        entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir()
    )


def class_folder(label: int, description: Description) -> str:
    """Return the folder name of a class: its zero-padded index first, so that names sort in label order."""
    width = len(str(description.num_classes - 1))
    return f"{label:0{width}d}_{safe_name(description.class_names[label])}"


def safe_name(name: str) -> str:
    """Return a class name, at most 60 characters of it, with all but letters, digits, dots and dashes an underscore."""
    return re.sub(r"[^\w.-]", "_", name[:60])


def read_image_folder(
    path: Path, description: Description | None = None, background: str | None = None
) -> StoredImages:
    """Read a folder of images as a teacher.

    Args:
        path: What ``gendistill export`` wrote, in any format (soft labels, order and learned rates are then read as
            well), or any folder of images that :func:`gendistill.data.load` reads; of parts, the training part.
        description: Real data that the images stand for: folders must be named after its classes (``cat``, ``3_cat`` or
            ``3``), images are brought to its shape, and its normalisation is used. Left out: folder names are the class
            names, in sorted order, and the normalisation is measured.
        background: The colour on which transparent pictures are laid, that of the real data; None: white.

    Returns:
        The teacher. What was done to images is printed on stderr.

    Raises:
        UserError: No images, images that cannot be read or, without a description, of unequal shapes, or folders that
            are no class.
    """
    if (path / NOTES).is_file():
        return read_export(path)
    layout, name = find_layout(path), readable(real_path(path).name)
    if "column 'soft_label'" in layout.passed_over:
        raise UserError(
            f"'{readable(str(path))}' has soft labels, which are not read from Parquet; give the teacher's file, or "
            "export it as png or safetensors"
        )
    part, folders = layout.parts["train"], layout.class_names
    images, said = _read(path, part, description, background)
    labels = torch.tensor(part.labels)
    if description is None:
        description = Description(name, folders, (images.shape[1], images.shape[2], images.shape[3]), measure(images))
    else:
        labels = torch.tensor([_label(folder, path, description) for folder in folders])[labels]
    left = [f"{len(one.labels):,} of the {other} part" for other, one in layout.parts.items() if other != "train"]
    if left or layout.passed_over:
        said.append(f"{layout.taken}; passed over: {', '.join([*left, *layout.passed_over])}")
    for one in said:
        note(f"pictures of the teacher '{name}': {one}")
    notes = {"source": {"folder": name, "images": len(images)}}
    return StoredImages(description.normalisation.apply(images), labels, description, metadata=notes)


def _read(path: Path, part: Part, description: Description | None, background: str | None) -> tuple[Tensor, list[str]]:
    """Return images (N, C, H, W) uint8 in the shape of the data, and what a person should know of them."""
    wish = replace(Wish.of(None, None, background), advised=False)
    if description is None:
        try:
            images, said = read_parts({"train": part}, wish)
        except UnequalSizes as error:
            raise UserError(
                f"{error.found}; say which data set they stand for ({option('name')}), to whose shape they are brought"
            ) from error
        return images["train"], said
    channels, height, width = description.image_shape
    if description.embedding is not None or channels not in (1, 3):
        raise UserError(
            f"'{readable(str(path))}' holds pictures, and the data '{description.name}' has none that are grey or in "
            "colour; choose the data set that they stand for"
        )
    images, said = read_parts({"train": part}, replace(wish, size=(height, width), channels=channels))
    return images["train"], said


def _label(folder: str, path: Path, description: Description) -> int:
    names = {name: label for label, name in enumerate(description.class_names)}
    safe = {safe_name(name): label for name, label in names.items()}
    numbered = {class_folder(label, description): label for label in names.values()}
    for known in (names, safe, numbered):
        if folder in known:
            return known[folder]
    folded = [label for name, label in names.items() if name.casefold() == folder.casefold()]
    if len(folded) == 1:
        return folded[0]
    if folder.isdecimal() and int(folder) < description.num_classes:
        return int(folder)
    raise UserError(
        f"'{path / folder}' is named after none of the classes of '{description.name}': "
        f"{', '.join(description.class_names)}; rename it, or choose the data set that the images stand for "
        f"({option('name')})"
    )
