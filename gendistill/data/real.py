"""Real data in memory: uint8 images on the device, batched by index."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 class indices.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
        """Return normalised images (B, C, H, W) float32 and labels (B,) at ``index`` (B,)."""
        return normalisation.apply(self.images[index]), self.labels[index]

    def to(self, device: torch.device | str) -> Split:
        """Return the split on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class RealData:
    """A data set with its fixed split. Model selection looks at ``validation``, never at ``test``."""

    description: Description
    train: Split
    validation: Split
    test: Split

    def to(self, device: torch.device | str) -> RealData:
        """Return the data on another device."""
        return RealData(self.description, self.train.to(device), self.validation.to(device), self.test.to(device))
