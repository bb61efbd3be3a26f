"""Grids of images as PNG, embedded in the page."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.grids import Grid, empty_places, enlarged, factor_of

if TYPE_CHECKING:
    from PIL import Image


def picture_grid(pixels: Tensor | Grid, columns: int = 10, width: int = 420) -> Image.Image:
    """Arrange images in a grid with transparent gaps.

    Args:
        pixels: (N, C, H, W) in [0, 1], C of 1 or 3, filled row by row; a grid knows its columns.
        columns: Images in a row.
        width: Least width of the picture in pixels; images are enlarged by a whole factor, with hard edges.

    Returns:
        A picture in Pillow's mode ``RGBA``.

    Raises:
        UserError: The images have another shape, or there are none.
    """
    from PIL import Image

    grid = pixels if isinstance(pixels, Grid) else Grid(pixels, columns)
    if grid.pixels.ndim != 4 or len(grid.pixels) == 0:
        raise UserError(f"a grid shows images (N, 1 or 3, H, W), got {tuple(grid.pixels.shape)}")
    columns = min(grid.columns, len(grid.pixels))
    factor = factor_of(grid, width)
    values, nothing = enlarged(grid, factor), empty_places(grid)
    count, _, tall, broad = values.shape
    gap, grid_rows = max(1, factor // 2), math.ceil(count / columns)
    canvas = torch.zeros(4, grid_rows * (tall + gap) - gap, columns * (broad + gap) - gap, dtype=torch.uint8)
    for place in range(count):
        top, left = place // columns * (tall + gap), place % columns * (broad + gap)
        if not nothing[place]:
            canvas[:3, top : top + tall, left : left + broad] = values[place]
            canvas[3, top : top + tall, left : left + broad] = 255
    return Image.fromarray(canvas.permute(1, 2, 0).contiguous().numpy(), "RGBA")


def png_grid(pixels: Tensor | Grid, columns: int = 10, width: int = 420) -> bytes:
    """Return the grid of :func:`picture_grid` as a PNG file."""
    buffer = io.BytesIO()
    picture_grid(pixels, columns, width).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_address(png: bytes) -> str:
    """Return a PNG as an address that an ``<img>`` takes without another file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def png_size(png: bytes) -> tuple[int, int]:
    """Return width and height from a PNG's header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
