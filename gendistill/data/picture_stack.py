"""Many pictures in one array each part: all of one size, and all grey or all in colour."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gendistill import budget
from gendistill.data.pictures import WHITE, Blob, Colour, Findings, Source, colour, middle, pixels, read_picture
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.spelling import option

COPIES = 2
"""How often pictures are in memory at once: as they were read, and divided into parts."""


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
        advised: Whether sentences name the options; they are no options of a teacher's pictures.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    background: Colour = WHITE
    advised: bool = True

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
        UserError: A picture cannot be read, they are of unequal sizes, or take more memory than their files may or this
            machine has.
    """
    reader = _Reader(wish)
    stacks: dict[str, Stack] = {}
    count = sum(len(part.labels) for part in parts.values())
    if wish.size is not None:
        _check_memory(count, (wish.channels or 1, *wish.size), wish)
    meter = budget.Meter(f"what {count:,} pictures hold")
    with warnings.catch_warnings():
        # What Pillow finds odd and reads all the same; what it cannot read is an error.
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        for name, part in parts.items():
            meter.add(0, getattr(part.sources, "size", 0))
            for source in part.sources:
                array = reader.read(source)
                if wish.size is None:
                    # Pixels that a person asked for, by a size, are not the file's doing.
                    expected = count * array.nbytes
                    meter.add(array.nbytes, budget.size_of(source) if isinstance(source, Path) else 0, expected)
                if name not in stacks:
                    _check_memory(count, array.shape, wish)
                    stacks[name] = Stack(len(part.labels), array.shape)
                stacks[name].put(array)
    reader.findings.check()
    if reader.in_colour:
        for stack in stacks.values():
            stack.widen()
    total = sum(stack.filled for stack in stacks.values())
    return {name: torch.from_numpy(stack.array) for name, stack in stacks.items()}, reader.sentences(total)


def _check_memory(count: int, shape: tuple[int, ...], wish: Wish) -> None:
    advice = f"give a smaller {option('image_size')}, or fewer pictures" if wish.advised else "give fewer"
    needed = COPIES * count * math.prod(shape)
    budget.check_memory(needed, f"{count:,} pictures of {_size(shape)} pixels", advice)


class _Reader:
    """Reads pictures one after the other, and remembers what they have in common."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.findings = Findings(advised=wish.advised)
        self.in_colour = wish.channels == 3
        self.stored_in_colour = self.made_grey = 0
        self.brought, self.brought_from = 0, (0, 0)
        self.first: tuple[Source, tuple[int, ...]] | None = None

    def read(self, source: Source) -> np.ndarray:
        """Return a picture (3, H, W), or (1, H, W) while all are grey and where it is stored so."""
        wish, image = self.wish, read_picture(source, self.wish.background, self.findings)
        if wish.size is not None and image.size != wish.size[::-1]:
            self.brought, self.brought_from = self.brought + 1, image.size
            image = middle(image, wish.size)
        if wish.channels == 1 and image.mode != "L":
            self.made_grey += not is_grey(pixels(image.convert("RGB")))
            image = image.convert("L")
        array = pixels(image)
        if self.first is None:
            self.first = (source, array.shape[1:])
        elif array.shape[1:] != self.first[1]:
            other, shape = self.first
            raise UnequalSizes(f"'{_name(source)}' is {_size(array.shape)} but '{_name(other)}' {_size(shape)}")
        if len(array) == 3 and not self.in_colour:
            if not is_grey(array):
                self.in_colour = True
            else:
                self.stored_in_colour += 1
                return array[:1]
        return array

    def sentences(self, total: int) -> list[str]:
        """Return what a person should know of the pictures, of which there were so many."""
        said, grey = self.findings.sentences(self.wish.background), self.findings.grey
        if self.wish.size is not None and self.brought:
            width, height = self.brought_from
            said.append(
                f"{self.brought:,} brought to {_size(self.wish.size)}, the middle cut out (the last from "
                f"{width}x{height})"
            )
        if self.made_grey:
            said.append(f"{self.made_grey:,} in colour, made grey")
        if self.wish.channels is None and self.in_colour and grey:
            said.append(
                f"{grey:,} grey among {total - grey:,} in colour, given three equal channels"
                + self._advice(f"{option('channels')} 1 makes all grey")
            )
        if self.wish.channels is None and not self.in_colour and self.stored_in_colour:
            said.append(
                f"{self.stored_in_colour:,} stored in colour but grey, as all are, and read as one channel"
                + self._advice(f"{option('channels')} 3 keeps three")
            )
        return said

    def _advice(self, words: str) -> str:
        return f" ({words})" if self.wish.advised else ""


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
