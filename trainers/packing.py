"""Images that a discriminator judges together: PacGAN, Lin, Khetan, Fanti, Oh 2018."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.batch import Batch


def packed(batch: Batch, packing: int) -> Batch:
    """Return a batch in packs: each ``packing`` images that follow one another, joined along channels.

    Args:
        batch: Images (N, C, H, W); N is a multiple of ``packing``. A pack has its first image's label.
        packing: m, how many images make a pack; 1 returns the batch itself.

    Returns:
        N / m packs (N / m, m C, ...).
    """
    if packing == 1:
        return batch
    count, channels, *rest = batch.images.shape
    images = batch.images.reshape(count // packing, packing * channels, *rest)
    return Batch(images, None if batch.labels is None else batch.labels[::packing])


def repeated(labels: Tensor, packing: int) -> Tensor:
    """Return the labels (N / m,) of packs as those of their images (N,)."""
    return labels[:, None].expand(-1, packing).reshape(-1)


def completed(first: Tensor, others: Tensor, packing: int) -> Tensor:
    """Return images in the order of :func:`packed`: each pack's first one, then the others of its class.

    Args:
        first: (N / m, C, H, W).
        others: (N - N / m, C, H, W), m - 1 for each, one pack's after another's.
        packing: m, at least 2.
    """
    others = others.reshape(len(first), packing - 1, *first.shape[1:])
    return torch.cat([first[:, None], others], 1).flatten(0, 1)
