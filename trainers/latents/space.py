"""Where a latent search moves: in the generator's latents, or in the features that one of its layers gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.errors import UserError, did_you_mean
from gendistill.teacher import GeneratorTeacher
from trainers.chunks import chunks, mapped


class Space:
    """Images as a function of what is searched.

    In a layer (GLaD, Cazenavette et al. 2023) its output takes the place of what the latents give, image by image; the
    rest of the generator goes on from there. A latent's few numbers then no longer bound what can be shown.

    Args:
        source: The generator.
        labels: (N,) the images' classes.
        layer: Dotted name of a layer of the network; None: the latents themselves.

    Raises:
        UserError: The network has no such layer.
    """

    def __init__(self, source: GeneratorTeacher, labels: Tensor, layer: str | None = None) -> None:
        self.source = source
        self.labels = labels
        self.layer = layer
        self.apart = source.batch_norm == "eval"
        self.module: nn.Module | None = None
        if layer is not None:
            layers = {name: module for name, module in source.network.named_modules() if name}
            if layer not in layers:
                hint = did_you_mean(layer, layers)
                raise UserError(
                    f"the generator {type(source.network).__name__} has no layer '{layer}'; {hint}its layers are: "
                    f"{', '.join(layers)}"
                )
            self.module = layers[layer]

    def points(self, latents: Tensor) -> Tensor:
        """Return what is searched, at latents (N, nz): themselves, or the layer's output (N, ...).

        Raises:
            UserError: The layer is not called once, or gives something else than one tensor for all images.
        """
        if self.module is None:
            return latents
        found: list[Tensor] = []
        for some, labels in chunks(latents, self.labels, apart=self.apart):
            seen: list[Any] = []
            handle = self.module.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
            try:
                self.source.generate(some, labels)
            finally:
                handle.remove()
            if len(seen) != 1 or not isinstance(seen[0], Tensor) or len(seen[0]) != len(some):
                raise UserError(
                    f"layer '{self.layer}' does not give one tensor for all images in one call; choose another one, "
                    "such as a block"
                )
            found.append(seen[0].detach().float())
        return torch.cat(found)

    def render(self, points: Tensor, latents: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Return images (N, C, H, W) in the generator's normalisation, with the graph of the points.

        Args:
            points: What is searched, (N, nz) or (N, ...).
            latents: (N, nz) at which the layers before the searched one are asked; not used without a layer.
            chosen: Indices of images; None: all.
        """
        labels = self.labels
        if chosen is not None:
            points, latents, labels = points[chosen], latents[chosen], labels[chosen]
        network = self.source.network
        moving = [weight for weight in network.parameters() if weight.requires_grad]
        return mapped(self._render, points, latents, labels, apart=self.apart, network=network, weights=moving)

    def _render(self, points: Tensor, latents: Tensor, labels: Tensor) -> Tensor:
        if self.module is None:
            return self.source.render(points, labels)
        with replaced(self.module, points):
            return self.source.render(latents, labels)


@contextmanager
def replaced(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Let a module give ``output`` inside, whatever it is given."""
    handle = module.register_forward_hook(lambda module, inputs, given: output.to(given.dtype))
    try:
        yield
    finally:
        handle.remove()


def class_embeddings(network: nn.Module) -> list[nn.Parameter]:
    """Return the weights that a generator looks up by class, one row a class each.

    Raises:
        UserError: It has none, as where classes are told one-hot.
    """
    found: list[nn.Parameter] = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]  # type: ignore[misc]
    if not found:
        raise UserError(
            f"the generator {type(network).__name__} looks nothing up by class, so there are no class embeddings to "
            "optimise; leave embedding_lr at 0"
        )
    return found


def at_values(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    """Write values into parameters, in place."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
