"""Grids of images as PNG, embedded in the page."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gendistill.errors import UserError

if TYPE_CHECKING:
    from PIL import Image


def picture_grid(pixels: Tensor, columns: int = 10, width: int = 420) -> Image.Image:
    """Arrange images in a grid with transparent gaps.

    Args:
        pixels: (N, C, H, W) in [0, 1], C of 1 or 3, filled row by row.
        columns: Images in a row.
        width: Least width of the picture in pixels; images are enlarged by a whole factor, with hard edges.

    Returns:
        A picture in Pillow's mode ``RGBA``.

    Raises:
        UserError: The images have another shape, or there are none.
    """
    from PIL import Image

    if pixels.ndim != 4 or len(pixels) == 0 or pixels.shape[1] not in (1, 3):
        raise UserError(f"a grid shows images (N, 1 or 3, H, W), got {tuple(pixels.shape)}")
    count, channels, height, wide = pixels.shape
    columns = min(columns, count)
    grid_rows = math.ceil(count / columns)
    factor = max(1, math.ceil(width / (columns * (wide + 1))))
    gap = max(1, factor // 2)
    values = (pixels.detach().cpu().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    values = values.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    tall, broad = height * factor, wide * factor
    canvas = torch.zeros(4, grid_rows * (tall + gap) - gap, columns * (broad + gap) - gap, dtype=torch.uint8)
    for place in range(count):
        top, left = place // columns * (tall + gap), place % columns * (broad + gap)
        canvas[:3, top : top + tall, left : left + broad] = values[place]
        canvas[3, top : top + tall, left : left + broad] = 255
    return Image.fromarray(canvas.permute(1, 2, 0).contiguous().numpy(), "RGBA")


def png_grid(pixels: Tensor, columns: int = 10, width: int = 420) -> bytes:
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


def by_class(pixels: Tensor, labels: Tensor, columns: int = 10) -> Tensor:
    """Put images in the order in which a grid of ``columns`` reads well.

    With as many classes as columns every column shows one class; otherwise images stand in the order of their classes.

    Args:
        pixels: (N, C, H, W).
        labels: (N,) class indices, or soft labels (N, K), whose largest entry counts.
        columns: Images in a row.

    Returns:
        The same images, reordered; incomplete rows of an uneven draw come last.
    """
    indices = labels.argmax(1) if labels.ndim == 2 else labels
    order = indices.argsort(stable=True)
    counts = indices.bincount()
    if len(counts) != columns:
        return pixels[order]
    place = torch.cat([torch.arange(int(count)) for count in counts]).to(order.device)  # rank within its class
    return pixels[order[(place * columns + indices[order]).argsort(stable=True)]]
