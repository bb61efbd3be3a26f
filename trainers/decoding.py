"""Stored values as images in a trainer: what is made with a generator is made in chunks, whose graphs are not all kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gendistill.decodes import Decode
from gendistill.errors import UserError
from gendistill.teacher.generated import Generated
from trainers.chunks import mapped


def decoded(decode: Decode, values: Tensor, labels: Tensor, latents: Tensor | None = None) -> Tensor:
    """Return the images (N * cells, C, H, W) of values (N, ...) with labels (N,), with the graph of the values.

    Args:
        decode: What makes images of them.
        values: (N, *stored_shape).
        labels: (N,) or (N, K).
        latents: Of a generator's layer, see :meth:`gendistill.teacher.generated.Generated.render`; the images are then
            in the generator's own normalisation.
    """
    if not isinstance(decode, Generated):
        return decode(values, labels)
    network: nn.Module = decode.source.network
    moving = [weight for weight in network.parameters() if weight.requires_grad]
    given = [values, labels] if latents is None else [values, labels, latents]
    function = decode if latents is None else decode.render
    return mapped(function, *given, apart=decode.apart, network=network, weights=moving)


def points_of(decode: Generated, latents: Tensor, labels: Tensor) -> Tensor:
    """Return a generator's values at latents (N, nz), chunk by chunk; see :meth:`Generated.points`."""
    if decode.layer is None:
        return latents
    with torch.no_grad():
        return mapped(decode.points, latents, labels, apart=decode.apart)


def pixels_of(decode: Decode, values: Tensor) -> Tensor | None:
    """Return stored values (N, ...) themselves as pictures (N, C, H, W), None where they are none or are what is shown.

    Args:
        decode: What makes images of them.
        values: Some of them.
    """
    shape = decode.description.image_shape
    if decode.cells == 1 or tuple(values.shape[1:]) != tuple(shape):
        return None
    return decode.description.normalisation.invert(values.detach()).clamp(0, 1)


def encoded(decode: Decode, images: Tensor, whose: str) -> Tensor:
    """Return the values of images (N * cells, C, H, W), checked.

    Raises:
        UserError: The decode cannot store images, or does not give values of the shape that it says.
    """
    values = decode.encode(images)
    wanted = (len(images) // decode.cells, *decode.stored_shape)
    if tuple(values.shape) != wanted:
        raise UserError(
            f"{type(decode).__name__}.encode gives {tuple(values.shape)} for {len(images)} {whose}; it must give {wanted}"
        )
    return values
