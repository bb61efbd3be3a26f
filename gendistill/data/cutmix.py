"""CutMix: a box of another image is put into each image of a batch, and the labels are mixed by its area.

Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", section 3,
with lambda from Beta(1, 1), as the judges of IDC, NCFM and RDED use it: one box and one order a batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cutmix(
    images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator, *, probability: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Mix a batch with itself in another order, or leave it as it is.

    The box has sides of sqrt(1 - lambda) of the image's, lambda uniform in [0, 1], and its centre is uniform; what
    hangs over the edge is cut off. A label becomes (1 - a) y + a y' with the share a of the image that the box covers.
    Nothing is read back from the device.

    Args:
        images: (N, C, H, W).
        labels: (N,) whole numbers, or (N, K) probabilities.
        num_classes: K.
        generator: Of any device. As much is drawn of it whether the batch is mixed or not.
        probability: With which the batch is mixed, 0..1.

    Returns:
        Images (N, C, H, W) and labels (N, K), probabilities in any case.
    """
    device = generator.device
    mixed, share, down, across = torch.rand(4, generator=generator, device=device).unbind()
    order = torch.randperm(len(images), generator=generator, device=device)
    # Of a batch that stays as it is the box has no sides.
    inside = torch.where(mixed < probability, share.sqrt(), torch.zeros_like(share))
    rows, columns = _covered(images.shape[2], inside, down), _covered(images.shape[3], inside, across)
    box = (rows[:, None] & columns).to(images.device, non_blocking=True)
    area = box.float().mean()
    order = order.to(images.device, non_blocking=True)
    soft = labels if labels.is_floating_point() else F.one_hot(labels, num_classes).to(images.dtype)
    return torch.where(box, images[order], images), torch.lerp(soft, soft[order], area.to(soft.dtype))


def _covered(side: int, share: Tensor, centre: Tensor) -> Tensor:
    """Return which of an image's rows or columns lie in a box with a share of the side, around a uniform place."""
    half = (side * share).floor().div(2).floor()
    middle = (side * centre).floor()
    places = torch.arange(side, device=share.device)
    return (places >= middle - half) & (places < middle + half)
