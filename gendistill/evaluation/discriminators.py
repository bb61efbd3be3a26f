"""What a discriminator says of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gendistill.data.description import Normalisation
from gendistill.data.real import Split
from gendistill.losses.adversarial import RELATIVISTIC, generator_loss

CHUNK = 500


@dataclass(frozen=True)
class Judge:
    """A discriminator.

    Attributes:
        name: ``discriminator``, or that with the group's number.
        network: The network, in evaluation mode.
        packing: Images that it judges together.
        labelled: Whether it is told labels.
        loss_type: By which the generator learned from it.
    """

    name: str
    network: nn.Module
    packing: int
    labelled: bool
    loss_type: str = "ns"

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
        parts = zip(images.split(CHUNK), labels.split(CHUNK), strict=True)
        return torch.cat([self._logits(*part).flatten().double().cpu() for part in parts])

    def of_each(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return its logits (N,) of images (N, C, H, W) one by one, with their graph; a pack is one image repeated."""
        return self._logits(images.repeat(1, self.packing, 1, 1), labels).flatten(1).mean(1)

    def feedback(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient (N, C, H, W) of a generator's loss at each of these images, as if it had made them.

        The loss is that of an image by itself; of pairs (``relativistic``) that against a logit of 0.
        """
        leaf = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.of_each(leaf, labels)
            loss = generator_loss("ns" if self.loss_type == RELATIVISTIC else self.loss_type, logits)
            (found,) = torch.autograd.grad(loss * len(leaf), leaf)
        return found

    def _logits(self, images: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = self.network(images, labels) if self.labelled else self.network(images)
        return logits


def scorers(
    judges: Sequence[Judge],
    normalisation: Normalisation,
    *,
    at_once: int = CHUNK,
    leaves: Callable[[Tensor], Tensor] = lambda values: values,
) -> Mapping[str, Callable[[Split], Tensor]]:
    """Return attacks that ask discriminators: higher scores where an image looks as if it had been learned from.

    ``discriminator``: how real it is said to be (LOGAN, Hayes et al. 2019); ``feedback``: minus the norm of what is
    sent back to it. Of several discriminators each has its own.

    Args:
        judges: The discriminators.
        normalisation: Of the images that they were trained on.
        at_once: Images that are asked about together.
        leaves: What of the feedback leaves a site, such as clipped and noised.
    """

    def each(judge: Judge, split: Split, wanted: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        device = next(judge.network.parameters()).device
        found = []
        for index in torch.arange(len(split)).split(at_once):
            images, labels = split.batch(index.to(split.labels.device), normalisation)
            found.append(wanted(images.to(device), labels.to(device)).double().cpu())
        return torch.cat(found)

    def said(judge: Judge) -> Callable[[Split], Tensor]:
        return lambda split: each(judge, split, lambda images, labels: judge.of_each(images, labels).detach())

    def sent(judge: Judge) -> Callable[[Split], Tensor]:
        return lambda split: each(
            judge, split, lambda images, labels: -leaves(judge.feedback(images, labels)).flatten(1).norm(dim=1)
        )

    found: dict[str, Callable[[Split], Tensor]] = {}
    for judge in judges:
        number = judge.name.removeprefix("discriminator")
        found |= {judge.name: said(judge), f"feedback{number}": sent(judge)}
    return found


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
