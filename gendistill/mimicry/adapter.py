"""A generator of torch-mimicry with the signature that a teacher's network has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.mimicry.loader import PACKAGE, load
from gendistill.nets.base import Generator
from gendistill.objects import build
from gendistill.untrusted import UntrustedSpec


class GeneratorAdapter(Generator):
    """Calls ``network(x, y)`` where the network is conditional, else ``network(x)``.

    Which it is, is told as torch-mimicry tells it: a conditional generator has ``num_classes`` above 0.

    Args:
        network: The generator, or its ``class_path`` and ``init_args``, as a file names them where it is one's. A file
            may name networks of torch-mimicry, too.

    Attributes:
        nz: Size of a latent.
        spec: What builds the adapter again; only there when the network has a spec.

    Raises:
        UserError: The network cannot be built or has no ``nz``.
    """

    def __init__(self, network: nn.Module | Mapping[str, Any] | UntrustedSpec) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            named = isinstance(network, UntrustedSpec)
            path = network.class_path if isinstance(network, UntrustedSpec) else str(network.get("class_path"))
            if path.startswith(f"{PACKAGE}.nets." if named else f"{PACKAGE}."):
                load()
            network = build(network, Generator if named else nn.Module)
        nz = getattr(network, "nz", None)
        if not isinstance(nz, int):
            raise UserError(f"the generator {type(network).__name__} has no latent size 'nz'")
        self.network = network
        self.nz = nz
        spec = getattr(network, "spec", None)
        if spec is not None:
            self.spec = {"class_path": f"{__name__}.{type(self).__name__}", "init_args": {"network": spec}}

    @property
    def conditional(self) -> bool:
        """Whether the network takes labels."""
        return int(getattr(self.network, "num_classes", 0) or 0) > 0

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map latents (N, nz) and, where the network takes them, class indices (N,) to images (N, C, H, W)."""
        images: Tensor = self.network(x, y) if self.conditional else self.network(x)
        return images
