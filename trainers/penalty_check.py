"""Whether a discriminator can be given a gradient penalty, which is of each image by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gendistill.nets.mixing import answers_apart, batch_layer
from gendistill.seeds import stream
from gendistill.teacher.network import snapshot

IMAGES = 4
"""Images that a discriminator is asked about."""


def no_penalty(
    discriminator: nn.Module, judge: Callable[[nn.Module, Tensor], Tensor], shape: tuple[int, int, int], seed: int
) -> str | None:
    """Return why a discriminator cannot have a gradient penalty, as a clause; None where it can.

    The slope at one image is asked for (Gulrajani et al. 2017, section 4, "No critic batch normalization"); in a
    network that normalises by the batch, it is also that of all others.

    Args:
        discriminator: The network, in the mode that it trains in; a copy of it is asked, so that it stays as it is.
        judge: Calls it with images (N, C, H, W), as training does.
        shape: Of an image.
        seed: Of the images that it is asked about.
    """
    asked = snapshot(discriminator)
    device = next((parameter.device for parameter in asked.parameters()), torch.device("cpu"))
    images = torch.randn(IMAGES, *shape, generator=stream(seed, "penalty/check")).to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if answers_apart(lambda some: judge(asked, some), images):
            return None
    name = type(discriminator).__name__
    layer = batch_layer(discriminator)
    if layer is None:
        return f"{name} lets the images of a batch see each other, and the penalty is of each image by itself"
    return (
        f"layer '{layer[0]}' ({layer[1]}) of {name} lets the images of a batch see each other, and the penalty is of "
        "each image by itself"
    )
