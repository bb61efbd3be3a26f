"""Images of a few colours: a stored pixel is the number of its colour, one byte whatever the channels."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from gendistill import coresets
from gendistill.data.description import Description, as_pixels
from gendistill.data.real import RealData
from gendistill.decodes.base import Decode, Identity
from gendistill.errors import UserError
from gendistill.finite import check_finite
from gendistill.seeds import stream

SAMPLED = 20_000
"""Real pixels among which the colours are found, at most."""
MOST = 256


class Palette(Decode):
    """Every pixel is the nearest of a few colours, those that k-means finds among the real training pixels.

    While images are distilled they are free; what is shown, and stored, is the nearest colour of each pixel. The
    gradient passes as if nothing were rounded (straight-through: Bengio et al. 2013).

    Args:
        colours: Number of colours, 2 to 256.

    Raises:
        UserError: The number is out of range.
    """

    def __init__(self, colours: int = 16) -> None:
        if isinstance(colours, bool) or not isinstance(colours, int) or not 2 <= colours <= MOST:
            raise UserError(f"a palette has {colours!r} colours; give a whole number from 2 to {MOST}")
        self.colours = colours
        self.table = torch.empty(0)

    def prepare(self, description: Description) -> Self:
        """Take the normalisation; see :meth:`Decode.prepare`."""
        if description.kind != "pictures" or description.normalisation.whitening is not None:
            what = description.kind if description.kind != "pictures" else "whitened images"
            raise UserError(f"a palette is of pixels' colours, which {what} of '{description.name}' have not")
        channels = description.image_shape[0]
        if self.table.shape != (self.colours, channels):
            raise UserError(
                f"a palette of {self.colours} colours has the shape ({self.colours}, {channels}) for "
                f"'{description.name}', this one has {tuple(self.table.shape)}"
            )
        self.shown = description.normalisation.apply(self.table[..., None, None])[..., 0, 0]  # (P, C), normalised
        return super().prepare(description)

    def attach(self, data: RealData, device: torch.device) -> Self:
        """Find the colours among the real training pixels; see :meth:`Decode.attach`."""
        if data.description.kind == "pictures":
            generator = stream(0, "palette")
            images = data.train.images.cpu()
            pixels = images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
            chosen = torch.randint(len(pixels), (min(SAMPLED, len(pixels)),), generator=generator)
            points = as_pixels(pixels[chosen])
            centres, _ = coresets.k_means(
                points[None], torch.ones(1, len(points), dtype=torch.bool), self.colours, generator
            )
            self.table = centres[0].clone()
        return super().attach(data, device)

    def cell(self, values: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        """Return the images in the nearest colours, with the gradient of what was not rounded."""
        return values + (self.unpacked(self.packed(values)) - values).detach()

    def encode(self, images: Tensor) -> Tensor:
        """Return the images; see :meth:`Decode.encode`."""
        return images

    def packed(self, values: Tensor) -> Tensor:
        """Return the number of each pixel's colour, (N, 1, H, W) uint8."""
        shown = self.shown.to(values)
        best = values.new_full((len(values), *values.shape[2:]), torch.inf)
        number = torch.zeros_like(best, dtype=torch.uint8)
        for place, colour in enumerate(shown):  # colour by colour: all at once would be as many images as colours
            distance = (values - colour[None, :, None, None]).square().sum(1)
            nearer = distance < best
            best = torch.where(nearer, distance, best)
            number = torch.where(nearer, number.new_full((), place), number)
        return number[:, None]

    def unpacked(self, stored: Tensor) -> Tensor:
        """Return the images (N, C, H, W) of colours' numbers."""
        return self.shown.to(stored.device)[stored[:, 0].long()].permute(0, 3, 1, 2).contiguous()

    def unrounded(self) -> Decode:
        """Return the identity; see :meth:`Decode.unrounded`."""
        return Identity().prepare(self.description).to(self.device)

    def stored_as(self, description: Description) -> tuple[tuple[int, ...], torch.dtype]:
        """Return shape and type of one image as colours' numbers."""
        return (1, *description.image_shape[1:]), torch.uint8

    def tensors(self) -> dict[str, Tensor]:
        """Return ``colours`` (P, C), pixels in [0, 1]."""
        return {"colours": self.table}

    def load(self, tensors: dict[str, Tensor]) -> Self:
        """Take the colours; see :meth:`Decode.load`."""
        if tensors.keys() != {"colours"} or tensors["colours"].dtype != torch.float32:
            raise UserError("a palette keeps one tensor 'decode.colours' (P, C) of pixels in [0, 1]")
        self.table = check_finite("decode.colours", tensors["colours"])
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the colours; see :meth:`Decode.to`."""
        self.table, self.shown = self.table.to(device), self.shown.to(device)
        return super().to(device)

    def words(self) -> str:
        """Return what it does as part of a sentence."""
        return f"pixels of {self.colours} colours"
