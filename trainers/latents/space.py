"""Where a latent search moves: in the generator's latents, or in the features that one of its layers gives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.teacher import GeneratorTeacher
from gendistill.teacher.generated import Generated
from trainers.decoding import decoded, points_of


class Space:
    """Images as a function of what is searched: a generator's decode, for the classes of one search.

    Args:
        source: The generator.
        labels: (N,) the images' classes.
        layer: Dotted name of a layer of the network; None: the latents themselves.

    Raises:
        UserError: The network has no such layer.
    """

    def __init__(self, source: GeneratorTeacher, labels: Tensor, layer: str | None = None) -> None:
        self.decode = Generated(source, layer)
        self.labels = labels
        self.layer = layer

    def points(self, latents: Tensor) -> Tensor:
        """Return what is searched, at latents (N, nz): themselves, or the layer's output (N, ...).

        Raises:
            UserError: The layer is not called once, or gives something else than one tensor for all images.
        """
        return points_of(self.decode, latents, self.labels)

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
        return decoded(self.decode, points, labels, latents)


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
