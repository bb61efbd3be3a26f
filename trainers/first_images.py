"""What distilled images start from: noise, real images, or real images that a network answers rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.decodes import Decode, Identity
from trainers.class_sizes import require_images
from trainers.decoding import encoded

FirstImages = Literal["noise", "real", "correct"]
CANDIDATES = 10
"""Real images looked at for each one that is kept, where those that are answered rightly are wanted."""
AT_ONCE = 1024
"""Real images in one batch that is answered, about."""


def first_images(
    kind: FirstImages,
    images_per_class: int,
    data: RealData,
    generator: torch.Generator,
    answer: Callable[[Tensor], Tensor],
    option: str = "images_per_class",
    decode: Decode | None = None,
) -> Tensor:
    """Return images to start from.

    Args:
        kind: ``noise`` (standard normal), ``real`` training images, or ``correct``: real ones that are answered
            rightly, filled up with others where there are not enough among ten times as many.
        images_per_class: M.
        data: Where real ones come from; its normalisation is that of the images.
        generator: Draws, on the device of the data.
        answer: images (N, C, H, W) -> logits (N, K); only asked for ``correct``, of all classes in one batch: a batch
            norm answers otherwise among images of one class.
        option: Which option of the trainer says how many, for the sentence about too few.
        decode: What makes images of stored values, which start from as many images as they show; None: the identity.

    Returns:
        (M * K, C, H, W), or stored values, classes in turn.

    Raises:
        UserError: A class has fewer than M images.
    """
    description = data.description
    decode = Identity().prepare(description) if decode is None else decode
    if kind == "noise":
        classes = torch.arange(description.num_classes).repeat(images_per_class)
        return decode.noise(classes, generator)
    stored, images_per_class = images_per_class, images_per_class * decode.cells
    sampler = ClassSampler(data.train.labels, description.num_classes, description.class_names)
    require_images(sampler, images_per_class, option)
    looked_at = images_per_class
    if kind == "correct":
        looked_at = max(images_per_class, min(CANDIDATES * images_per_class, sampler.smallest))
    drawn = sampler.draw(looked_at, generator)  # (K, L)
    if kind == "correct":
        wrong = _wrong(drawn, data, answer)
        drawn = drawn.gather(1, wrong.int().argsort(dim=1, stable=True))
    # (K, M * cells) -> (M, K, cells): classes in turn, those of one stored value together.
    index = drawn[:, :images_per_class].unflatten(1, (stored, decode.cells)).transpose(0, 1).flatten()
    return encoded(decode, data.train.batch(index, description.normalisation)[0], "real images")


@torch.no_grad()
def _wrong(drawn: Tensor, data: RealData, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """Return which of the images (K, L) are answered wrongly, asked in batches that hold all classes alike."""
    mixed = drawn.T.flatten()
    parts = mixed.tensor_split(-(-len(mixed) // max(AT_ONCE, len(drawn))))
    batches = (data.train.batch(part, data.description.normalisation) for part in parts)
    wrong = torch.cat([answer(images).argmax(1) != labels for images, labels in batches])
    return wrong.view(drawn.shape[::-1]).T
