"""What a stranger must know of a data set to use images made from it: shape, classes, value range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gendistill.data.whitening import Whitening
from gendistill.errors import UserError


@dataclass(frozen=True)
class Normalisation:
    """Affine map between pixels in [0, 1] and the values that networks see: ``(pixel - mean) / std``, then whitened.

    Attributes:
        mean: One number a channel, in [0, 1].
        std: One positive number a channel.
        whitening: What comes after it; None: nothing.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: Whitening | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise UserError(f"normalisation needs one mean and one positive std a channel, got {self.mean}, {self.std}")

    def apply(self, pixels: Tensor) -> Tensor:
        """Map pixels in [0, 1], or uint8 in 0..255, (N, C, H, W), to normalised float32 values of the same shape."""
        scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
        mean, std = _channels(self.mean, self.std, pixels.device)
        images = (pixels.to(torch.float32) - scale * mean) / (scale * std)
        return images if self.whitening is None else self.whitening.apply(images)

    def invert(self, images: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) back to pixels; the result is in [0, 1] up to what was over-drawn."""
        mean, std = _channels(self.mean, self.std, images.device)
        return (images if self.whitening is None else self.whitening.invert(images)) * std + mean

    def convert(self, images: Tensor, other: Normalisation) -> Tensor:
        """Re-express images (N, C, H, W) that are normalised by ``self`` in the normalisation ``other``."""
        return images if other == self else other.apply(self.invert(images))

    def plain(self) -> Normalisation:
        """Return the normalisation without its whitening."""
        return self if self.whitening is None else Normalisation(self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; of a whitening its size and checksum alone."""
        values: dict[str, Any] = {"mean": self.mean, "std": self.std}
        if self.whitening is not None:
            values["whitening"] = {"values": self.whitening.size, "sha256": self.whitening.sha256}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], whitening: Whitening | None = None) -> Normalisation:
        """Read what :meth:`to_dict` wrote.

        Args:
            values: The plain values.
            whitening: The whitening that they name, which comes from elsewhere.

        Raises:
            UserError: The whitening is missing or is another one.
            KeyError, TypeError, ValueError: A value is missing or of the wrong kind.
        """
        named = values.get("whitening")
        if (named is None) != (whitening is None):
            given, wanted = ("none", "a") if whitening is None else ("one", "no")
            raise UserError(f"the description of the data set names {wanted} whitening, {given} is there")
        if whitening is not None and named is not None and named["sha256"] != whitening.sha256:
            raise UserError("the description of the data set names another whitening than the one that is there")
        mean, std = (tuple(float(number) for number in values[name]) for name in ("mean", "std"))
        return cls(mean, std, whitening)


@lru_cache(maxsize=64)
def _channels(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept on the device: making a tensor from numbers waits for a GPU, and every batch needs these.
    return torch.tensor(mean, device=device).view(1, -1, 1, 1), torch.tensor(std, device=device).view(1, -1, 1, 1)


def symmetric(channels: int) -> Normalisation:
    """Return the normalisation to [-1, 1] that generators with a tanh output work in."""
    return Normalisation((0.5,) * channels, (0.5,) * channels)


@dataclass(frozen=True)
class Description:
    """A data set without its images.

    Attributes:
        name: The data set's name, such as ``digits``.
        class_names: One name a class, in label order.
        image_shape: (C, H, W) in pixels.
        normalisation: How images are mapped for networks.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    normalisation: Normalisation = field(default_factory=lambda: symmetric(1))

    def __post_init__(self) -> None:
        channels = self.image_shape[0]
        if len(self.normalisation.mean) != channels:
            raise UserError(
                f"data set '{self.name}' has {channels} channels, its normalisation {len(self.normalisation.mean)}"
            )
        whitening = self.normalisation.whitening
        if whitening is not None and whitening.size != math.prod(self.image_shape):
            raise UserError(
                f"images of '{self.name}' have {math.prod(self.image_shape)} values, its whitening {whitening.size}"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def with_normalisation(self, normalisation: Normalisation) -> Description:
        """Return the same data set described in another normalisation."""
        return replace(self, normalisation=normalisation)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {
            "name": self.name,
            "class_names": self.class_names,
            "image_shape": self.image_shape,
            "normalisation": self.normalisation.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], whitening: Whitening | None = None) -> Description:
        """Read what :meth:`to_dict` wrote.

        Args:
            values: The plain values.
            whitening: See :meth:`Normalisation.from_dict`.

        Raises:
            UserError: A value is missing or of the wrong kind.
        """
        try:
            channels, height, width = (int(number) for number in values["image_shape"])
            return cls(
                name=str(values["name"]),
                class_names=tuple(str(name) for name in values["class_names"]),
                image_shape=(channels, height, width),
                normalisation=Normalisation.from_dict(values["normalisation"], whitening),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"the description of the data set is not complete: {error!r}") from error


def check_fits(made_for: Description, real: Description, name: str | None = None) -> None:
    """Refuse a teacher whose classes or image shape are not those of the real data.

    Args:
        made_for: What the teacher was made for.
        real: The real data.
        name: What the user calls the teacher.

    Raises:
        UserError: They differ.
    """
    teacher = "the teacher" if name is None else f"teacher '{name}'"
    if made_for.num_classes != real.num_classes:
        raise UserError(
            f"{teacher} was made for {made_for.num_classes} classes ('{made_for.name}'), but '{real.name}' has "
            f"{real.num_classes}; choose the data set that it was made for"
        )
    if tuple(made_for.image_shape) != tuple(real.image_shape):
        raise UserError(
            f"{teacher} makes images of shape {tuple(made_for.image_shape)} ('{made_for.name}'), but '{real.name}' has "
            f"{tuple(real.image_shape)}; choose the data set that it was made for"
        )
