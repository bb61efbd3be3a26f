"""A data set of one's own: a folder with a folder of images for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.data.split import SPLIT_SEED, stratified, validation_size
from gendistill.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
LITTER = ("Thumbs.db", "desktop.ini")
"""Files that desktops leave; passed over, as hidden files are."""

GREY_MODES = ("1", "L", "LA")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def load_folder(path: Path, *, seed: int = 0, image_size: int | None = None, channels: int | None = None) -> RealData:
    """Load ``path/<class>/<image>`` or ``path/{train,test}/<class>/<image>`` (``val`` and ``validation`` are read too).

    Without a test folder a fifth of the images are held out for it; without a validation folder a tenth of the
    training images, at most 5,000. Both stratified.

    Args:
        path: The folder.
        seed: Seed of the split.
        image_size: Height and width that images are brought to: the shorter side is scaled, the middle cut out.
        channels: 1 or 3 to convert to grey or colour. None: as the files are.

    Returns:
        The data; the normalisation is the mean and standard deviation of its training pixels.

    Raises:
        UserError: No such folder, no or one class, a class without images, a file that is not an image, images of
            unequal sizes or channels.
    """
    parts = {part: path / part for part in ("train", "test", "validation", "val") if (path / part).is_dir()}
    if "train" in parts:
        images, labels, names = read_folder(parts["train"], image_size=image_size, channels=channels)
        train = Split(images, labels)
    else:
        images, labels, names = read_folder(path, image_size=image_size, channels=channels)
        parts = {}
        train = Split(images, labels)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    if len(names) < 2:
        raise UserError(f"'{path}' holds one class, '{names[0]}'; put a folder of images for each of two or more")

    def given(part: str) -> Split:
        found, found_labels, _ = read_folder(parts[part], image_size=image_size, channels=channels, class_names=names)
        if tuple(found.shape[1:]) != shape:
            raise UserError(
                f"images in '{parts[part]}' are {_size(found)}, those for training {_size(images)}; "
                "give image_size or channels to make them equal"
            )
        return Split(found, found_labels)

    if "test" in parts:
        test = given("test")
    else:
        train, test = _hold_out(train, len(train) // 5, seed)
    validation_part = next((part for part in ("validation", "val") if part in parts), None)
    if validation_part is not None:
        validation = given(validation_part)
    else:
        train, validation = _hold_out(train, validation_size(len(train)), seed)
    if not (len(train) and len(validation) and len(test)):
        raise UserError(
            f"'{path}' leaves {len(train)} training, {len(validation)} validation and {len(test)} test images; "
            "each part needs one or more, so give more images"
        )
    return RealData(Description(path.resolve().name, names, shape, measure(train.images)), train, validation, test)


def read_folder(
    path: Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    class_names: tuple[str, ...] | None = None,
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Read ``path/<class>/<image>``.

    Args:
        path: The folder with a folder a class.
        image_size: See :func:`load_folder`.
        channels: See :func:`load_folder`.
        class_names: The classes in label order; folders must be named after them, not all need be there. None: the
            folders' names in order (numbers in numerical order).

    Returns:
        Images (N, C, H, W) uint8, labels (N,) int64, class names.

    Raises:
        UserError: See :func:`load_folder`.
    """
    if not path.is_dir():
        raise UserError(f"there is no folder '{path}'; give a folder that holds a folder of images for each class")
    check_conversion(image_size, channels)
    folders = [entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        raise UserError(f"'{path}' holds no folders; put a folder of images for each class into it")
    if all(folder.name.isdecimal() for folder in folders):
        folders.sort(key=lambda folder: int(folder.name))
    else:
        folders.sort()
    names = class_names or tuple(folder.name for folder in folders)
    unknown = sorted({folder.name for folder in folders} - set(names))
    if unknown:
        raise UserError(f"'{path / unknown[0]}' is named after none of the classes: {', '.join(names)}")
    arrays: list[np.ndarray] = []
    labels: list[int] = []
    first: Path | None = None
    for folder in folders:
        files = sorted(file for file in folder.iterdir() if file.name not in LITTER and not file.name.startswith("."))
        if not files:
            raise UserError(f"class folder '{folder}' holds no images; fill or delete it")
        for file in files:
            array = read_image(file, image_size, channels)
            first = first or file
            if arrays and array.shape != arrays[0].shape:
                raise UserError(
                    f"'{file}' is {_size(array)} but '{first}' is {_size(arrays[0])}; give image_size (and channels "
                    "for a mix of grey and colour) to make all images equal"
                )
            arrays.append(array)
            labels.append(names.index(folder.name))
    return torch.from_numpy(np.stack(arrays)), torch.tensor(labels), names


def check_conversion(image_size: int | None, channels: int | None) -> None:
    """Refuse a size below one pixel and other channels than grey or colour."""
    if image_size is not None and image_size < 1:
        raise UserError(f"image_size is {image_size}; give a number of pixels, 1 or more")
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels}; give 1 for grey or 3 for colour")


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


def _hold_out(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    rest, held = stratified(split.labels, (len(split) - count, count), SPLIT_SEED + seed)
    return Split(split.images[rest], split.labels[rest]), Split(split.images[held], split.labels[held])


def _size(images: np.ndarray | Tensor) -> str:
    return "x".join(str(number) for number in images.shape[-3:])


def read_image(path: Path, image_size: int | None, channels: int | None) -> np.ndarray:
    """Return one image as (C, H, W) uint8.

    Args:
        path: The file.
        image_size: See :func:`load_folder`.
        channels: See :func:`load_folder`.

    Raises:
        UserError: It is not an image of 8 bits a channel.
    """
    if path.is_dir() or path.suffix.lower() not in SUFFIXES:
        raise UserError(f"'{path}' is not an image; class folders may hold {', '.join(SUFFIXES)} files only")
    try:
        with Image.open(path) as opened:
            if opened.mode in DEEP_MODES:
                raise UserError(f"'{path}' has more than 8 bits a channel; convert it to 8 bits")
            grey = channels == 1 if channels else opened.mode in GREY_MODES
            image = opened.convert("L" if grey else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"'{path}' cannot be read as an image ({error}); replace or delete it") from error
    if image_size is not None and image.size != (image_size, image_size):
        scale = image_size / min(image.size)
        width, height = (max(image_size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - image_size) // 2, (height - image_size) // 2
        image = image.crop((left, top, left + image_size, top + image_size))
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))
