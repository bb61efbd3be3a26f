"""Many pictures in one array each part: all of one size, and all grey or all in colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gendistill.data.pictures import WHITE, Blob, Colour, Findings, Source, colour, middle, pixels, read_picture
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.spelling import option


class UnequalSizes(UserError):
    """Pictures are not all of one size.

    Attributes:
        found: Which are not, without advice.
    """

    def __init__(self, found: str) -> None:
        super().__init__(f"{found}; give {option('image_size')} to make all images equal")
        self.found = found


class Part(Protocol):
    """What is read of one part."""

    @property
    def labels(self) -> list[int]:
        """The class of each picture."""

    @property
    def sources(self) -> Iterable[Source]:
        """As many pictures, in the same order."""


@dataclass(frozen=True)
class Wish:
    """What pictures are brought to.

    Attributes:
        size: Height and width: scaled until the picture covers them, the middle cut out. None: as they are.
        channels: 1 for grey, 3 for colour. None: colour if any picture of any part has some.
        background: What transparent pixels let through.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    background: Colour = WHITE

    @classmethod
    def of(cls, image_size: int | None, channels: int | None, background: str | None = None) -> Wish:
        """Read what a person asked for.

        Raises:
            UserError: A size below one pixel, other channels than 1 and 3, or a background that is no colour.
        """
        if image_size is not None and image_size < 1:
            raise UserError(f"{option('image_size')} is {image_size}; give a number of pixels, 1 or more")
        if channels not in (None, 1, 3):
            raise UserError(f"{option('channels')} is {channels}; give 1 for grey or 3 for colour")
        size = None if image_size is None else (image_size, image_size)
        return cls(size, channels, WHITE if background is None else colour(background))


class Stack:
    """Pictures (N, C, H, W) uint8 that are put in one after the other.

    There is one channel until a picture with colour comes: a large set of grey pictures is never there threefold, and
    none is there twice.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        try:
            self.array = np.empty((count, *shape), dtype=np.uint8)
        except MemoryError as error:
            raise UserError(
                f"{count:,} pictures of {_size(shape)} pixels do not fit into memory; give {option('image_size')}"
            ) from error
        self.filled = 0

    def put(self, array: np.ndarray) -> None:
        """Put in a picture (1 or 3, H, W); three channels widen the stack."""
        if len(array) > self.array.shape[1]:
            self.widen()
        self.array[self.filled] = array
        self.filled += 1

    def widen(self) -> None:
        """Make three equal channels of one."""
        if self.array.shape[1] == 1:
            wide = np.empty((len(self.array), 3, *self.array.shape[2:]), dtype=np.uint8)
            wide[: self.filled] = self.array[: self.filled]
            self.array = wide


def read_parts(parts: Mapping[str, Part], wish: Wish) -> tuple[dict[str, Tensor], list[str]]:
    """Read the pictures of all parts.

    Args:
        parts: The parts by name; none is empty.
        wish: What they are brought to.

    Returns:
        Images (N, C, H, W) uint8 of each part, with the same C, H and W, and what a person should know of them.

    Raises:
        UserError: A picture cannot be read, or they are of unequal sizes.
    """
    findings = Findings()
    stacks: dict[str, Stack] = {}
    first: tuple[Source, tuple[int, ...]] | None = None
    in_colour, looks_grey = wish.channels == 3, 0
    brought, size = 0, (0, 0)
    for name, part in parts.items():
        for source in part.sources:
            image = read_picture(source, wish.background, findings)
            if wish.size is not None and image.size != wish.size[::-1]:
                brought, size = brought + 1, image.size
                image = middle(image, wish.size)
            array = pixels(image.convert("L") if wish.channels == 1 else image)
            if len(array) == 3 and not in_colour:
                grey = is_grey(array)
                array, looks_grey, in_colour = (array[:1] if grey else array), looks_grey + grey, not grey
            first = first or (source, array.shape[1:])
            if array.shape[1:] != first[1]:
                raise UnequalSizes(
                    f"'{_name(source)}' is {_size(array.shape)} but '{_name(first[0])}' {_size(first[1])}"
                )
            if name not in stacks:
                stacks[name] = Stack(len(part.labels), (3 if in_colour else 1, *first[1]))
            stacks[name].put(array)
    findings.check()
    total = sum(stack.filled for stack in stacks.values())
    said = findings.sentences(wish.background)
    if wish.size is not None and brought:
        said.append(f"{brought:,} brought to {_size(wish.size)}, the middle cut out (the last was {size[0]}x{size[1]})")
    if in_colour:
        for stack in stacks.values():
            stack.widen()
    if wish.channels is None and in_colour and findings.grey:
        said.append(
            f"{findings.grey:,} grey among {total - findings.grey:,} in colour, given three equal channels "
            f"({option('channels')} 1 makes all grey)"
        )
    if wish.channels is None and not in_colour and looks_grey:
        said.append(
            f"{looks_grey:,} stored in colour but grey, as all are, and read as one channel "
            f"({option('channels')} 3 keeps three)"
        )
    return {name: torch.from_numpy(stack.array) for name, stack in stacks.items()}, said


def is_grey(array: np.ndarray) -> bool:
    """Return whether the three channels of (3, H, W) are equal everywhere."""
    # Of most pictures in colour a few rows tell.
    some = array[:, :: max(1, array.shape[1] // 4)]
    if (some[0] != some[1]).any() or (some[1] != some[2]).any():
        return False
    return bool((array[0] == array[1]).all() and (array[1] == array[2]).all())


def _name(source: Source) -> str:
    return readable(source.name if isinstance(source, Blob) else str(source))


def _size(shape: tuple[int, ...]) -> str:
    """Return width x height of (..., H, W)."""
    return f"{shape[-1]}x{shape[-2]}"
