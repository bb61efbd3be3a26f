"""Real data in memory: images as they are stored, on the device, batched by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.data.whitening import EPSILON, Whitening
from gendistill.errors import UserError
from gendistill.visible import visible
from gendistill.words import counted


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        images: (N, C, H, W) uint8; sentences are tokens (N, 1, L, 1) int32, points (N, 2, 1, 1) int32
            (:data:`gendistill.data.description.LEVELS`).
        labels: (N,) int64 class indices.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
        """Return normalised images (B, C, H, W) float32 and labels (B,) at ``index`` (B,).

        Sentences come embedded: (B, 1, L, D), L words of D numbers each.
        """
        return normalisation.apply(self.images[index]), self.labels[index]

    def to(self, device: torch.device | str) -> Split:
        """Return the split on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Elsewhere(Split):
    """A part of a data set that other processes hold: this one knows of it but cannot look at it.

    Attributes:
        count: How many images it has there.
        digits: What names its content, see :func:`gendistill.data.fingerprint.split_fingerprint`.
    """

    count: int = 0
    digits: str = ""

    def __len__(self) -> int:
        return self.count

    def batch(self, index: Tensor, normalisation: Normalisation) -> tuple[Tensor, Tensor]:
        """Refuse: there is nothing here."""
        raise RuntimeError("this process holds no real data")

    def to(self, device: torch.device | str) -> Elsewhere:
        """Return the same: there is nothing to move."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class RealData:
    """A data set with its fixed split. Model selection looks at ``validation``, never at ``test``.

    Attributes:
        description: Name, classes, shape, normalisation.
        train: What teaches.
        validation: What choices are made on.
        test: What results are measured on.
        notes: What a person should know of how the files were read, a sentence each.
        background: The colour on which transparent pictures that stand for this data are laid; None: white.
        options: What :func:`gendistill.data.load` was given, ``name`` among it, so that others can load the same; empty
            of data that was made in another way.
    """

    description: Description
    train: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    background: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        about = self.description
        parts = [
            f"'{visible(about.name, 60)}', {counted(len(about.class_names), 'class', 'classes')}",
            f"{about.kind} {about.image_shape}",
            ", ".join(f"{len(getattr(self, name)):,} {name}" for name in ("train", "validation", "test")),
            *(["whitened"] if about.normalisation.whitening is not None else []),
        ]
        return f"<RealData of {'; '.join(parts)}>"

    def to(self, device: torch.device | str) -> RealData:
        """Return the data on another device."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "validation", "test")}
        return replace(self, **parts)

    def in_order(self, order: Tensor, class_names: tuple[str, ...]) -> RealData:
        """Return the same images with the classes counted in another order.

        Args:
            order: (K,) int64, for each class its new number.
            class_names: The names in the new order.
        """

        def part(split: Split) -> Split:
            return Split(split.images, order.to(split.labels.device)[split.labels])

        described = replace(self.description, class_names=class_names)
        parts = part(self.train), part(self.validation), part(self.test)
        return RealData(described, *parts, background=self.background, options=self.options)

    def with_normalisation(self, normalisation: Normalisation) -> RealData:
        """Return the same images in another normalisation."""
        return replace(self, description=self.description.with_normalisation(normalisation))

    def whitening(self, epsilon: float = EPSILON) -> Normalisation:
        """Return the ZCA whitening of the pixels in [0, 1], fitted to all official training images, as a normalisation.

        Pixels are not normalised before, as in the public code of trajectory matching. The validation images, which are
        official training images, count as such: so the whitening is the one that public results were made in.

        Raises:
            UserError: The data are no pictures; see also :meth:`gendistill.data.whitening.Whitening.fit`.
        """
        if self.description.kind != "pictures":
            kind = self.description.kind
            raise UserError(f"whitening is for pictures; '{self.description.name}' holds {kind}, leave it out")
        channels = self.description.image_shape[0]
        images = torch.cat((self.train.images, self.validation.images))
        fitted = Whitening.fit(images, epsilon, scale=255.0)
        return Normalisation((0.0,) * channels, (1.0,) * channels, fitted)
