"""A conditional generator that is told classes in another order than the one it was trained in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.base import Generator
from gendistill.objects import build
from gendistill.untrusted import UntrustedSpec


class ReorderedGenerator(Generator):
    """Calls ``network(x, y)`` with the classes that the network has for those that it is told.

    Args:
        network: The generator, or its ``class_path`` and ``init_args``, as a file names them where it is one's.
        order: For each class of the network the number that it is told by here.

    Attributes:
        nz: Size of a latent.
        spec: What builds it again; only there when the network has a spec.

    Raises:
        UserError: The order is no order, or the network cannot be built.
    """

    def __init__(self, network: nn.Module | Mapping[str, Any] | UntrustedSpec, order: Sequence[int]) -> None:
        super().__init__()
        if not order or sorted(order) != list(range(len(order))):
            raise UserError(f"the order of a generator's classes is {order}; give every number from 0 once")
        if not isinstance(network, nn.Module):
            network = build(network, Generator if isinstance(network, UntrustedSpec) else nn.Module)
        self.network = network
        self.nz = getattr(network, "nz", None)
        self.order = [int(place) for place in order]
        self.register_buffer("_told", torch.tensor(self.order), persistent=False)
        self.register_buffer("_own", torch.tensor(self.order).argsort(), persistent=False)
        spec = getattr(network, "spec", None)
        if spec is not None:
            arguments = {"network": spec, "order": self.order}
            self.spec = {"class_path": f"{__name__}.{type(self).__name__}", "init_args": arguments}

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map latents (N, nz) and class indices (N,), or soft labels (N, K), to images (N, C, H, W)."""
        own = y[:, self._told] if y.is_floating_point() else self._own[y]  # type: ignore[index]
        images: Tensor = self.network(x, own)
        return images
