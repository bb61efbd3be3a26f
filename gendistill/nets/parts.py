"""Batches in parts whose maps stay in a processor's cache: the numbers of the whole but for rounding, and faster."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gendistill.nets.compiled import compilable
from gendistill.nets.mixing import batch_layer


def images_at_once(device: torch.device, image_shape: tuple[int, ...], network: nn.Module | None = None) -> int:
    """Return how many images (C, H, W) go through a network together where nothing is said.

    2048 on a GPU and 128 on a CPU, fewer where they are larger than 32x32. On a CPU a map of all of them has at most as
    many values as 32 images of 32x32 have in 128 channels, so that it fits the cache: twice as fast there as 128 images
    (``benchmarks/public_loops.py``).

    Args:
        device: Where.
        image_shape: (C, H, W).
        network: Its widest convolution says how large maps are; None, or none known: as in a narrow one.
    """
    width = 0 if network is None or device.type != "cpu" else _width(network)
    return _fitting(128 if device.type == "cpu" else 2048, image_shape, width)


def _width(network: nn.Module) -> int:
    return max((layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)), default=0)


def _fitting(most: int, image_shape: tuple[int, ...], width: int) -> int:
    pixels = math.prod(image_shape[1:])
    fitting = most * 32 * 32 // pixels
    if width:
        fitting = min(fitting, 32 * 32 * 32 * 128 // (pixels * width))
    return min(most, max(1, fitting))


class InParts:
    """Calls a network part by part, where the parts are known to give what the whole gives: on a CPU, convolutions.

    Not networks with buffers or layers that draw, and not those with a class from elsewhere than torch and this
    package, which may let images see each other.

    Args:
        network: The network; it must not get other layers later.
    """

    def __init__(self, network: object) -> None:
        self.width = 0
        if isinstance(network, nn.Module) and compilable(network) and batch_layer(network) is None:
            known = ("torch.nn.", "gendistill.nets.")
            if all(type(module).__module__.startswith(known) for module in network.modules()):
                self.width = _width(network)

    def __call__(self, call: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return what ``call``, which uses the network, gives for images (N, C, H, W).

        Args:
            call: Images (M, C, H, W) -> (M, ...), row by row.
            images: On the device of the network.
        """
        if not self.width or images.ndim != 4 or images.device.type != "cpu":
            return call(images)
        parts = math.ceil(len(images) / _fitting(128, tuple(images.shape[1:]), self.width))
        if parts < 2:
            return call(images)
        return torch.cat([call(some) for some in images.split(math.ceil(len(images) / parts))])
