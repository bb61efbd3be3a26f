"""Folders of images as teachers, and the folder that an export to PNG writes."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from gendistill.data.description import Description
from gendistill.data.folder import measure, read_folder
from gendistill.errors import UserError
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
    """Return a class name with everything but letters, digits, dots and dashes made an underscore."""
    return re.sub(r"[^\w.-]", "_", name)


def read_image_folder(path: Path, description: Description | None = None) -> StoredImages:
    """Read a folder of images as a teacher.

    Args:
        path: What ``gendistill export`` wrote, in any format (soft labels, order and learned rates are then read as
            well), or any folder with a folder of images for each class.
        description: Real data that the images stand for: folders must be named after its classes (``cat``, ``3_cat`` or
            ``3``), and its normalisation is used. Left out: folder names are the class names, in sorted order, and
            the normalisation is measured.

    Returns:
        The teacher.

    Raises:
        UserError: No images, images that cannot be read or of another shape, or folders that are no class.
    """
    if (path / NOTES).is_file():
        return read_export(path)
    images, labels, folders = read_folder(path)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    if description is None:
        description = Description(path.resolve().name, folders, shape, measure(images))
    else:
        if shape != tuple(description.image_shape):
            raise UserError(
                f"images in '{path}' have shape {shape}, those of '{description.name}' "
                f"{tuple(description.image_shape)}; resize them first"
            )
        labels = torch.tensor([_label(folder, path, description) for folder in folders])[labels]
    notes = {"source": {"folder": path.resolve().name, "images": len(images)}}
    return StoredImages(description.normalisation.apply(images), labels, description, metadata=notes)


def _label(folder: str, path: Path, description: Description) -> int:
    names = {name: label for label, name in enumerate(description.class_names)}
    safe = {safe_name(name): label for name, label in names.items()}
    numbered = {class_folder(label, description): label for label in names.values()}
    for known in (names, safe, numbered):
        if folder in known:
            return known[folder]
    if folder.isdecimal() and int(folder) < description.num_classes:
        return int(folder)
    raise UserError(
        f"'{path / folder}' is named after none of the classes of '{description.name}': "
        f"{', '.join(description.class_names)}"
    )
