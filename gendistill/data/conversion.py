"""Bringing the images of one data set to the shape of another's, so that one network can see both."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.description import Description
from gendistill.data.folder import measure
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.spelling import option

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601), those of Pillow's ``convert("L")``."""
CHUNK = 4096
"""Images that are brought to another size at once."""


def like(data: RealData, target: Description) -> RealData:
    """Return a data set in the image shape of another one.

    Colour becomes grey by luma, grey becomes colour by three equal channels, and another size is made by bilinear
    interpolation, smoothed where it shrinks, of the pixels as they are. Mean and standard deviation are then measured
    anew on the converted training images. A data set that has the shape already stays what it is.

    Args:
        data: What is converted.
        target: Whose image shape is wanted, and with whose number of classes it must agree.

    Raises:
        UserError: Another number of classes, a whitening, or a number of channels other than 1 and 3.
    """
    own, wanted = data.description, target.image_shape
    if own.num_classes != target.num_classes:
        raise UserError(
            f"'{own.name}' has {own.num_classes} classes and '{target.name}' {target.num_classes}; networks of one can "
            "be adapted to the other only where the classes are the same"
        )
    if tuple(own.image_shape) == tuple(wanted):
        return data
    if own.normalisation.whitening is not None:
        raise UserError(
            f"'{own.name}' is whitened and of another shape than '{target.name}'; leave {option('whitening')} out"
        )
    if own.image_shape[0] != wanted[0] and {own.image_shape[0], wanted[0]} != {1, 3}:
        raise UserError(
            f"images of '{own.name}' have {own.image_shape[0]} channels and those of '{target.name}' {wanted[0]}; only "
            "1 and 3 can be converted"
        )
    parts = (data.train, data.validation, data.test)
    train, validation, test = (Split(_converted(part.images, wanted), part.labels) for part in parts)
    normalisation = measure(train.images.cpu())
    described = replace(own, image_shape=wanted, normalisation=normalisation)
    return RealData(described, train, validation, test, background=data.background)


def _converted(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return uint8 images (N, C, H, W) in another shape (C, H, W)."""
    return (
        torch.cat([_chunk(part, shape) for part in images.split(CHUNK)]) if len(images) else images.new_empty(0, *shape)
    )


def _chunk(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    pixels = images.float()
    if pixels.shape[1] == 3 and shape[0] == 1:
        pixels = (pixels * torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if tuple(pixels.shape[2:]) != shape[1:]:
        pixels = F.interpolate(pixels, size=shape[1:], mode="bilinear", align_corners=False, antialias=True)
    return pixels.round().clamp(0, 255).to(torch.uint8).expand(-1, shape[0], -1, -1).contiguous()
