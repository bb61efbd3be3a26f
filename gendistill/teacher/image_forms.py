"""What a tensor of images holds: how its axes lie, and what its numbers are."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.errors import UserError
from gendistill.finite import check_finite
from gendistill.teacher.torch_files import usual

VALUES = ("auto", "normalised", "pixels", "bytes", "whitened")
"""What images may be: normalised as a code does it, pixels in [0, 1], pixels in 0..255, or ZCA-whitened."""

HALF_LEVEL = 0.5 / 255
"""What a pixel may lie outside of [0, 1] and still be of 8 bits: rounding in half precision, and of a whitening that is
inverted, stays below it."""
BEYOND, FEW = 0.5, 0.01
"""Pixels that are optimised without clipping leave [0, 1], but few of them by more than 0.5."""
LARGE = 50.0
"""No normalised image is so many standard deviations from the mean; it is in other units."""


class Layout(NamedTuple):
    """Images (N, C, H, W) in the type that they came in, and what was done to get there, if anything."""

    images: Tensor
    words: str | None


def lay_out(images: Tensor, description: Description) -> Layout:
    """Return images with the axes of the data set: channels last, no channel axis and flattened ones are recognised.

    Args:
        images: (N, C, H, W), (N, H, W, C), (N, H, W) of one channel, or (N, C * H * W), channel by channel.
        description: Gives the shape.

    Raises:
        UserError: There are none; they are no numbers, not finite, or of another shape.
    """
    if images.is_complex() or images.dtype == torch.bool:
        raise UserError(f"images are {str(images.dtype).removeprefix('torch.')}; save them as float or uint8")
    if not images.numel():
        raise UserError(f"there are no images, the tensor has shape {tuple(images.shape)}")
    images = check_finite("images", usual(images.detach()), "they cannot be used; ask for a sound file")
    channels, height, width = description.image_shape
    shape = tuple(images.shape[1:])
    if shape == (channels, height, width):
        return Layout(images, None)
    if shape == (height, width, channels):
        return Layout(images.permute(0, 3, 1, 2).contiguous(), "channels last")
    if channels == 1 and shape == (height, width):
        return Layout(images[:, None], None)
    if shape == (math.prod(description.image_shape),):
        return Layout(images.reshape(-1, channels, height, width), "flattened, channel by channel")
    raise UserError(
        f"images of '{description.name}' must have shape (N, {channels}, {height}, {width}), got {tuple(images.shape)}"
    )


def understand_values(images: Tensor, given: str, usual: str, normalisation: Normalisation | None = None) -> str:
    """Return what the numbers of images are, one of :data:`VALUES` but ``auto``.

    Args:
        images: (N, C, H, W), finite.
        given: What the user says, or ``auto``.
        usual: What the code that wrote the file has: ``normalised``, ``pixels`` or ``whitened``.
        normalisation: That of normalised images of the data set, by which they are told where pixels are usual.

    Raises:
        UserError: They are not what they are said to be, or may be more than one thing.
    """
    lowest, highest = float(images.min()), float(images.max())
    whole = not images.is_floating_point()
    in_bytes = lowest >= 0 and highest <= 255
    span = f"{lowest:.4g} to {highest:.4g}"
    if whole and (not in_bytes or given not in ("auto", "bytes", "pixels")):
        kind = str(images.dtype).removeprefix("torch.")
        raise UserError(
            f"images are {kind} from {span}; whole numbers are pixels in 0..255 (values bytes), save others as float"
        )
    if whole:
        return "bytes"
    if given != "auto":
        if given == "bytes" and not in_bytes:
            raise UserError(f"images go from {span}, which are no bytes in 0..255; choose other values")
        return given
    if lowest >= -HALF_LEVEL and highest <= 1 + HALF_LEVEL:
        return "whitened" if usual == "whitened" else "pixels"
    if in_bytes and highest > 2 and bool((images == images.round()).all()):
        return "bytes"
    if usual == "pixels":
        far = float(((images < -BEYOND) | (images > 1 + BEYOND)).double().mean())
        if far > FEW and normalisation is not None and not outside(normalisation.invert(images.to(torch.float32))):
            return "normalised"
        if far > FEW:
            raise UserError(
                f"images go from {span}, {far:.0%} of them far outside the pixels in [0, 1] that this format has; say "
                "what they are with --values normalised, whitened, pixels or bytes"
            )
    elif max(-lowest, highest) > LARGE:
        raise UserError(
            f"images go from {span}, too far for normalised ones; say what they are with --values bytes, pixels, "
            "normalised or whitened"
        )
    return usual


def outside(pixels: Tensor) -> float:
    """Return the share of pixels that lie outside [0, 1] by more than 8 bits can tell."""
    return float(((pixels < -HALF_LEVEL) | (pixels > 1 + HALF_LEVEL)).double().mean())
