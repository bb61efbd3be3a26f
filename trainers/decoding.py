"""Stored values as images in a trainer; what a generator makes is made in chunks, whose graphs are not all kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gendistill.data.description import Normalisation
from gendistill.decodes import Decode, Identity
from gendistill.errors import UserError
from gendistill.grids import Grid, grid_of_classes
from gendistill.teacher.generated import Generated
from trainers.chunks import mapped

AT_ONCE = 256
"""Values that are decoded together on the way back, at most."""


class Shown:
    """All stored values as the images that learners see, which are leaves: gradients gather there and are sent back.

    The values are decoded without a graph, and on the way back once more, group by group, with one group's graph at a
    time. Where nothing is decoded, the images are the values themselves and nothing is to be sent.

    Args:
        decode: What makes images of values.
        values: (N, *stored_shape), a leaf or a view of one.
        labels: (N,) or (N, K), of the values; soft ones may be learned.
        classes: (N,) what a generator is told.

    Attributes:
        images: (N * cells, C, H, W).
        labels: (N * cells,) or (N * cells, K).
    """

    def __init__(self, decode: Decode, values: Tensor, labels: Tensor, classes: Tensor) -> None:
        self.decode, self.values, self.told, self.classes = decode, values, labels, classes
        self.images, self.labels = values, labels
        if isinstance(decode, Identity):
            return
        with torch.no_grad():
            self.images = decoded(decode, values, classes).clone().requires_grad_(values.requires_grad)
            self.labels = decode.labels(labels).clone().requires_grad_(labels.requires_grad)

    @property
    def leaves(self) -> list[Tensor]:
        """Where gradients of a loss on the images gather until :meth:`backward`; none where nothing is decoded."""
        return [] if isinstance(self.decode, Identity) else [self.images, self.labels]

    def backward(self) -> None:
        """Send what has gathered in images and labels to the values and their labels."""
        if isinstance(self.decode, Identity):
            return
        cells = self.decode.cells
        if self.images.grad is not None:
            at_once = AT_ONCE if self.decode.apart else len(self.values)
            given = self.images.grad.split(at_once * cells)
            parts = zip(self.values.detach().split(at_once), self.classes.split(at_once), given, strict=True)
            found = []
            for values, classes, gradient in parts:
                own = values.requires_grad_()
                found.append(torch.autograd.grad(decoded(self.decode, own, classes), own, gradient)[0])
            self.values.backward(torch.cat(found))
            self.images.grad = None
        if self.labels.grad is not None:
            self.told.backward(self.labels.grad.unflatten(0, (-1, cells)).sum(1))
            self.labels.grad = None


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


def class_grids(decode: Decode, values: Tensor, labels: Tensor, normalisation: Normalisation) -> dict[str, Grid]:
    """Return stored values as learners see them, one column a class, at most ten rows; and as stored, if that differs.

    Args:
        decode: What makes images of them.
        values: (K, M, *stored_shape), a row a class.
        labels: (K, M) classes.
        normalisation: Of the images.
    """
    values, labels = values[:, :10], labels[:, :10]
    with torch.no_grad():
        shown = decode.rows(values, labels)[:, :10]
    pixels = normalisation.invert(shown.flatten(0, 1)).clamp(0, 1)
    names = decode.description.class_names
    pictures = {"images": grid_of_classes(pixels, labels[:, :1].expand(-1, shown.shape[1]).flatten(), names)}
    stored = pixels_of(decode, values.flatten(0, 1))
    return pictures if stored is None else pictures | {"stored": grid_of_classes(stored, labels.flatten(), names)}


def encoded(decode: Decode, images: Tensor, whose: str) -> Tensor:
    """Return the values of images (N * cells, C, H, W), checked.

    Raises:
        UserError: The decode cannot store images, or does not give values of the shape that it says.
    """
    values = decode.encode(images)
    wanted = (len(images) // decode.cells, *decode.stored_shape)
    if tuple(values.shape) != wanted:
        raise UserError(
            f"{type(decode).__name__}.encode gives {tuple(values.shape)} for {len(images)} {whose}; it must give "
            f"{wanted}"
        )
    return values
