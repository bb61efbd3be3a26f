"""What a run may know of private data: their description as declared, and grey images in the place of real ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError

GREY = 128
PUBLIC = (
    "name of the data set",
    "class names and their order",
    "image size and channels",
    "normalisation to [-1, 1]",
    "config and seed of the run",
)
"""What is treated as public, whatever the method; a method adds its own."""


def public_description(description: Description) -> Description:
    """Return a data set's description without anything that is measured from images.

    Raises:
        UserError: The data are no pictures, or whitened.
    """
    if description.kind != "pictures":
        raise UserError(
            f"private teachers are made of pictures; '{description.name}' holds {description.kind}, whose vocabulary "
            "or modes would be taken from private data"
        )
    if description.normalisation.whitening is not None:
        raise UserError("data.whitening is fitted to all images, so it would tell of private ones; leave it out")
    return description.with_normalisation(symmetric(description.image_shape[0]))


def stand_in(data: RealData, at_least: int = 1) -> RealData:
    """Return what a run is given instead of private data: the public description, and grey images of every class.

    Whatever reads the run's data, a picture, a log, a checksum, a sampler, reads these.

    Args:
        data: The data.
        at_least: How many images a part has at least, such as a batch; public.
    """
    description = public_description(data.description)
    classes = description.num_classes
    labels = torch.arange(classes).repeat(-(-at_least // classes))
    images = torch.full((len(labels), *description.image_shape), GREY, dtype=torch.uint8)
    grey = Split(images, labels).to(data.train.images.device)
    return RealData(description, grey, grey, grey)


def without_training(data: RealData) -> RealData:
    """Return data whose training and validation images are grey ones, for judging a private teacher on test images."""
    return replace(stand_in(data), test=data.test)
