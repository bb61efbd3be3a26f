"""What a stranger must know of a data set to use images made from it: shape, classes, value range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError


@dataclass(frozen=True)
class Normalisation:
    """Per-channel affine map between pixels in [0, 1] and the values that networks see: ``(pixel - mean) / std``.

    Attributes:
        mean: One number a channel, in [0, 1].
        std: One positive number a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise UserError(f"normalisation needs one mean and one positive std a channel, got {self.mean}, {self.std}")

    def apply(self, pixels: Tensor) -> Tensor:
        """Map pixels in [0, 1], or uint8 in 0..255, (N, C, H, W), to normalised float32 values of the same shape."""
        scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
        mean, std = _channels(self, pixels.device)
        return (pixels.to(torch.float32) - scale * mean) / (scale * std)

    def invert(self, images: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) back to pixels; the result is in [0, 1] up to what was over-drawn."""
        mean, std = _channels(self, images.device)
        return images * std + mean

    def convert(self, images: Tensor, other: Normalisation) -> Tensor:
        """Re-express images (N, C, H, W) that are normalised by ``self`` in the normalisation ``other``."""
        return images if other == self else other.apply(self.invert(images))


@lru_cache(maxsize=64)
def _channels(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept on the device: making a tensor from numbers waits for a GPU, and every batch needs these.
    mean = torch.tensor(normalisation.mean, device=device).view(1, -1, 1, 1)
    std = torch.tensor(normalisation.std, device=device).view(1, -1, 1, 1)
    return mean, std


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

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def with_normalisation(self, normalisation: Normalisation) -> Description:
        """Return the same data set described in another normalisation."""
        return replace(self, normalisation=normalisation)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Description:
        """Read what :meth:`to_dict` wrote.

        Raises:
            UserError: A value is missing or of the wrong kind.
        """
        try:
            normalisation = values["normalisation"]
            channels, height, width = (int(number) for number in values["image_shape"])
            return cls(
                name=str(values["name"]),
                class_names=tuple(str(name) for name in values["class_names"]),
                image_shape=(channels, height, width),
                normalisation=Normalisation(
                    tuple(float(number) for number in normalisation["mean"]),
                    tuple(float(number) for number in normalisation["std"]),
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
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
