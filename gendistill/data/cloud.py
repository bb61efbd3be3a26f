"""Points of the plane around known modes: what a stranger must know of them, beside classes and normalisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError

SHAPE = (2, 1, 1)
"""Shape of a point as an image: two channels of one pixel."""
MOST_MODES = 10_000
"""Modes that a file may name."""


@dataclass(frozen=True)
class Cloud:
    """Modes of equal weight, each an isotropic normal distribution.

    A point is an image of two pixels in [0, 1]: a coordinate c is the pixel (c / extent + 1) / 2.

    Attributes:
        centres: (x, y) of each mode, one a class, in label order.
        sigma: Standard deviation of a coordinate around its centre.
        extent: Half the side of the square around 0 that pixels in [0, 1] show.

    Raises:
        UserError: A value is not finite or out of range.
    """

    centres: tuple[tuple[float, float], ...]
    sigma: float
    extent: float

    def __post_init__(self) -> None:
        values = [self.sigma, self.extent, *(value for centre in self.centres for value in centre)]
        shaped = 1 <= len(self.centres) <= MOST_MODES and all(len(centre) == 2 for centre in self.centres)
        if not shaped or not all(math.isfinite(value) for value in values) or min(self.sigma, self.extent) <= 0:
            raise UserError("points need 1 to 10,000 centres (x, y), and a sigma and an extent above 0, all finite")
        if max(abs(value) for centre in self.centres for value in centre) > self.extent:
            raise UserError(f"a centre of points lies outside of their extent {self.extent:g}")

    def coordinates(self, pixels: Tensor) -> Tensor:
        """Return the coordinates (N, 2) float64 of pixels (N, 2, 1, 1), which may lie outside of [0, 1]."""
        return (pixels.detach().flatten(1).cpu().double() * 2 - 1) * self.extent

    def positions(self) -> Tensor:
        """Return the centres (K, 2) float64."""
        return torch.tensor(self.centres, dtype=torch.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {"centres": self.centres, "sigma": self.sigma, "extent": self.extent}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cloud:
        """Read what :meth:`to_dict` wrote.

        Raises:
            UserError: A value is out of range.
            AttributeError, KeyError, TypeError, ValueError: A value is missing or of the wrong kind.
        """
        centres = tuple((float(x), float(y)) for x, y in values["centres"])
        return cls(centres, float(values["sigma"]), float(values["extent"]))
