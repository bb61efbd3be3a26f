"""What passes between a GAN trainer and its losses."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Real or generated images with their labels.

    Attributes:
        images: (B, C, H, W) float32 in [-1, 1].
        labels: (B,) int64 class indices; ``None`` for images of a generator without labels.
    """

    images: Tensor
    labels: Tensor | None = None
