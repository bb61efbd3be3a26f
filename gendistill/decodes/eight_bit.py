"""Images, or sheets of them, whose stored values are a byte each, as those of real images are."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.decodes.base import Decode, Identity
from gendistill.decodes.formation import Formation
from gendistill.errors import UserError
from gendistill.finite import is_finite

LEVELS = 255
"""Steps between the least and the largest value of a channel."""
SCALE = ("low", "step")


class EightBit(Formation):
    """A formation whose stored values are bytes: a quarter of the file, and half a step of error at most.

    A byte q of channel c stands for ``low[c] + step[c] * q``, with 255 steps from the channel's least value to its
    largest, so that values that no pixel has, which distillation makes many of, are kept. While images are distilled
    they are free, and rounded where a teacher is made of them; a step is some hundredths of a standard deviation.

    Args:
        factor: Cells along a side, see :class:`Formation`; 1: each stored image is one image.

    Raises:
        UserError: The factor is no whole number from 1.
    """

    def __init__(self, factor: int = 1) -> None:
        super().__init__(factor)
        self.low: Tensor | None = None
        self.step: Tensor | None = None

    def prepare(self, description: Description) -> Self:
        """Take the size of an image; see :meth:`Decode.prepare`."""
        channels = description.image_shape[0]
        for name, scale in zip(SCALE, (self.low, self.step), strict=True):
            if scale is not None and scale.shape != (channels,):
                raise UserError(
                    f"'decode.{name}' has the shape {tuple(scale.shape)}, and images of '{description.name}' "
                    f"{channels} channels"
                )
        return super().prepare(description)

    def fitted(self, values: Tensor) -> Self:
        """Return a decode with the scale of values (N, C, H, W); see :meth:`Decode.fitted`."""
        other = copy.copy(self)
        channels = values.detach().transpose(0, 1).flatten(1)
        other.low, high = channels.amin(1), channels.amax(1)
        other.step = (high - other.low) / LEVELS
        return other

    def packed(self, values: Tensor) -> Tensor:
        """Return the nearest bytes, uint8 of the same shape."""
        low, step = self._scale(values.device)
        # Where all values of a channel are one there is no step, and every byte means that value.
        counts = (values - low) / torch.where(step > 0, step, torch.ones_like(step))
        return counts.round().clamp(0, LEVELS).to(torch.uint8)

    def unpacked(self, stored: Tensor) -> Tensor:
        """Return the values (N, C, H, W) of bytes."""
        low, step = self._scale(stored.device)
        return low + step * stored.to(torch.float32)

    def stored_as(self, description: Description) -> tuple[tuple[int, ...], torch.dtype]:
        """Return shape and type of one image as bytes."""
        return self.stored_shape, torch.uint8

    def unrounded(self) -> Decode:
        """Return the formation, or the identity, of the values themselves; see :meth:`Decode.unrounded`."""
        plain = Identity() if self.factor == 1 else Formation(self.factor)
        return plain.prepare(self.description).to(self.device)

    def tensors(self) -> dict[str, Tensor]:
        """Return ``low`` and ``step`` (C,), normalised."""
        return {name: scale for name, scale in zip(SCALE, (self.low, self.step), strict=True) if scale is not None}

    def load(self, tensors: dict[str, Tensor]) -> Self:
        """Take the scale; see :meth:`Decode.load`."""
        fits = tensors.keys() == set(SCALE) and all(
            one.dtype == torch.float32 and one.ndim == 1 and is_finite(one) for one in tensors.values()
        )
        if not fits or tensors["low"].shape != tensors["step"].shape or bool((tensors["step"] < 0).any()):
            raise UserError(
                "values of eight bits keep two tensors, 'decode.low' and 'decode.step' (C,) float32, finite, the step "
                "0 or more"
            )
        if not is_finite(tensors["low"] + LEVELS * tensors["step"]):
            raise UserError("'decode.low' and 'decode.step' lead to values that are not finite")
        self.low, self.step = tensors["low"], tensors["step"]
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the scale; see :meth:`Decode.to`."""
        self.low = None if self.low is None else self.low.to(device)
        self.step = None if self.step is None else self.step.to(device)
        return super().to(device)

    def words(self) -> str:
        """Return what it does as part of a sentence."""
        return "values of one byte" if self.factor == 1 else f"{super().words()}, values of one byte"

    def _scale(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self.low is None or self.step is None:
            raise UserError("values of eight bits need their scale; fitted(values) gives it")
        return self.low.to(device)[:, None, None], self.step.to(device)[:, None, None]
