"""What a discriminator says of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

CHUNK = 500


@dataclass(frozen=True)
class Judge:
    """A discriminator.

    Attributes:
        name: ``discriminator``, or that with the group's number.
        network: The network, in evaluation mode.
        packing: Images that it judges together.
        labelled: Whether it is told labels.
    """

    name: str
    network: nn.Module
    packing: int
    labelled: bool

    @torch.no_grad()
    def scores(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return what it says of images: higher is more real.

        Args:
            images: (N, C, H, W), normalised as it was trained, on any device.
            labels: (N,) int64. The images of a pack are of one class where it is told labels.

        Returns:
            (N,) float64, or one value a pack.
        """
        images, labels = packs(images, labels, self.packing, alike=self.labelled)
        given = (lambda at: (images[at], labels[at])) if self.labelled else (lambda at: (images[at],))
        parts = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
        return torch.cat([self.network(*given(at)).flatten().double().cpu() for at in parts])


def packs(images: Tensor, labels: Tensor, packing: int, *, alike: bool) -> tuple[Tensor, Tensor]:
    """Return images (N, C, H, W) as packs (N // m, m C, H, W) and each pack's label, what is left over is left out.

    Args:
        images: The images.
        labels: (N,) int64.
        packing: m.
        alike: Whether the images of a pack must be of one class.
    """
    if packing == 1:
        return images, labels
    index = torch.arange(len(labels), device=labels.device)
    groups = [index[labels == label] for label in labels.unique()] if alike else [index]
    chosen = torch.cat([group[: len(group) // packing * packing] for group in groups])
    return images[chosen].view(-1, packing * images.shape[1], *images.shape[2:]), labels[chosen][::packing]
