"""A data set of one's own: a folder with a folder of images for each class, or in another layout that is in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.data.layout import Layout, Survey, find_folders
from gendistill.data.picture_parquet import SUFFIX, find_file, find_parquet
from gendistill.data.picture_stack import Wish, read_parts
from gendistill.data.picture_tables import find_tables
from gendistill.data.real import RealData, Split
from gendistill.data.split import SPLIT_SEED, hold_out, missing_classes, validation_size
from gendistill.data.tiny_imagenet import find_tiny_imagenet, is_tiny_imagenet
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.regular import real_path
from gendistill.spelling import option

LAYOUTS = (
    "a folder with a folder of images for each class (below train/, val/ and test/ or not), Tiny-ImageNet as it is "
    "given out, Hugging Face's imagefolder with metadata.csv or metadata.jsonl, or Parquet files"
)


def load_folder(
    path: Path,
    *,
    seed: int = 0,
    image_size: int | None = None,
    channels: int | None = None,
    background: str | None = None,
    label_column: str | int | None = None,
) -> RealData:
    """Load a folder of images, or a Parquet file, in one of :data:`LAYOUTS`.

    Without a test part a fifth of the images are held out for it; without a validation part a tenth of the training
    images, at most 5,000. Both stratified, with an image or more of each class that has enough.

    Args:
        path: The folder or file.
        seed: Seed of the split.
        image_size: Height and width that images are brought to: the shorter side is scaled, the middle cut out.
        channels: 1 or 3 to convert to grey or colour. None: colour if any image has some.
        background: Colour that transparent pixels let through: a name or ``#rrggbb``. None: white.
        label_column: Of a table or a Parquet file the column that holds the classes, or its number from 1. None: the
            one that is called so, or noted as such.

    Returns:
        The data; the normalisation is the mean and standard deviation of its training pixels. Its notes say which
        layout was taken, what was passed over, and what was done to images.

    Raises:
        UserError: No such folder, no or one class, a class without images, a file that is not an image, images of
            unequal sizes, or a layout that has more than one reading.
    """
    wish = Wish.of(image_size, channels, background)
    layout = find_layout(path, label_column)
    shown = readable(str(path))
    if len(layout.class_names) < 2:
        raise UserError(
            f"'{shown}' holds one class, '{layout.class_names[0]}'; put a folder of images for each of two or more"
        )
    images, said = read_parts(layout.parts, replace(wish, channels=wish.channels or layout.channels))
    splits = {part: Split(images[part], torch.tensor(one.labels)) for part, one in layout.parts.items()}
    held = [part for part in ("validation", "test") if part not in splits]
    if "test" in held:
        count = len(splits["train"]) // 5
        # Two of a class stay, where there are three, so that validation has one as well.
        splits["train"], splits["test"] = _hold_out(splits["train"], count, seed, 2 if "validation" in held else 1)
    if "validation" in held:
        splits["train"], splits["validation"] = _hold_out(splits["train"], validation_size(len(splits["train"])), seed)
    if not all(len(splits[part]) for part in ("train", "validation", "test")):
        sizes = {part: len(split) for part, split in splits.items()}
        raise UserError(
            f"'{shown}' leaves {sizes['train']} training, {sizes['validation']} validation and {sizes['test']} test "
            "images; each part needs one or more, so give more images (a class of three gives one to each part)"
        )
    name = readable(real_path(path).name)
    notes = [_words(name, layout, held), *(f"pictures of '{name}': {one}" for one in said)]
    notes += [
        f"'{name}': {one}"
        for one in missing_classes({part: split.labels for part, split in splits.items()}, layout.class_names)
    ]
    _, channels, height, width = splits["train"].images.shape
    description = Description(name, layout.class_names, (channels, height, width), measure(splits["train"].images))
    return RealData(description, splits["train"], splits["validation"], splits["test"], tuple(notes))


def find_layout(path: Path, label_column: str | int | None = None) -> Layout:
    """Make out how a folder of images is laid out.

    Args:
        path: The folder, or a Parquet file.
        label_column: See :func:`load_folder`.

    Raises:
        UserError: It is none of :data:`LAYOUTS`, or has more than one reading.
    """
    shown = readable(str(path))
    if path.is_file():
        if path.suffix.lower() == SUFFIX:
            return find_file(path, label_column)
        raise UserError(f"'{shown}' is a file, and no Parquet file; give {LAYOUTS} (an archive is to be unpacked)")
    if not path.is_dir():
        raise UserError(f"there is no folder '{shown}'; give {LAYOUTS}")
    top = Survey.of(path)
    if label_column is None and is_tiny_imagenet(path):
        return find_tiny_imagenet(path)
    found = find_parquet(top, label_column) or find_tables(top, label_column)
    if found is None and label_column is not None:
        raise UserError(
            f"'{shown}' holds no table and no Parquet files, which {option('label_column')} is for; leave it out"
        )
    return found or find_folders(top)


def read_folder(
    path: Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    class_names: tuple[str, ...] | None = None,
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Read the training part of a folder of images, without dividing it.

    Args:
        path: The folder or file, in one of :data:`LAYOUTS`.
        image_size: See :func:`load_folder`.
        channels: See :func:`load_folder`.
        class_names: The classes in label order; those of the folder must be among them, not all need be there. None:
            those of the folder.

    Returns:
        Images (N, C, H, W) uint8, labels (N,) int64, class names.

    Raises:
        UserError: See :func:`load_folder`.
    """
    layout = find_layout(path)
    part = layout.parts["train"]
    names = class_names or layout.class_names
    unknown = [name for name in layout.class_names if name not in names]
    if unknown:
        raise UserError(f"'{readable(str(path / unknown[0]))}' is named after none of the classes: {', '.join(names)}")
    images, _ = read_parts({"train": part}, Wish.of(image_size, channels))
    places = torch.tensor([names.index(name) for name in layout.class_names])
    return images["train"], places[torch.tensor(part.labels)], names


def _words(name: str, layout: Layout, held: list[str]) -> str:
    """Return what was made of a folder in one sentence."""
    sizes = ", ".join(f"{len(one.labels):,} {part}" for part, one in layout.parts.items())
    words = f"'{name}': {layout.taken}; {len(layout.class_names):,} classes, images: {sizes}"
    if held:
        words += f"; {' and '.join(held)} held out of train"
    return words + (f"; passed over: {', '.join(layout.passed_over)}" if layout.passed_over else "")


def _hold_out(split: Split, count: int, seed: int, least: int = 1) -> tuple[Split, Split]:
    rest, held = hold_out(split.labels, count, SPLIT_SEED + seed, least=least)
    return Split(split.images[rest], split.labels[rest]), Split(split.images[held], split.labels[held])


def measure(images: Tensor) -> Normalisation:
    """Return the mean and standard deviation a channel of uint8 images (N, C, H, W), as fractions of 255."""
    channel = images.transpose(0, 1).flatten(1)
    # Exact and small: 256 counts a channel instead of a float copy of all images.
    counts = torch.stack([torch.bincount(values, minlength=256) for values in channel]).to(torch.float64)
    level = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ level
    std = (share @ level.square() - mean.square()).clamp(min=0).sqrt()
    # Images of one colour have no spread; one grey level keeps the map invertible.
    return Normalisation(tuple(mean.tolist()), tuple(std.clamp(min=1 / 255).tolist()))
