"""Grids of pictures that say what each is of: one mechanism for TensorBoard, films, the report and a paper."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.visible import visible

if TYPE_CHECKING:
    from PIL import Image

MOST_COLUMNS = 12
"""Classes that have a column each; more are shown ten to a row, each under its name."""
ROOM_FOR_A_NAME = 72
"""Least width in pixels of a picture that has a name of its own above it."""
LONGEST = 24
"""Characters of a name on a picture."""
INK, SOFT, WHITE = (28, 29, 31), (85, 88, 94), (255, 255, 255)


@dataclass(frozen=True)
class Grid:
    """Pictures in rows.

    Attributes:
        pixels: (N, C, H, W) in [0, 1], C of 1 or 3, row by row; one that begins with NaN is an
            empty place.
        columns: Pictures in a row.
        names: What each of the N is of; empty: it is not said.
    """

    pixels: Tensor
    columns: int
    names: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[str, ...]:
        """What every column is of, where each is of one thing and they are not all of the same; else empty."""
        found = [
            dict.fromkeys(self.names[place :: self.columns]) for place in range(min(self.columns, len(self.names)))
        ]
        of_one = bool(found) and all(len(names) == 1 for names in found)
        several = len(self.names) > self.columns or len(self.names) == len(set(self.names))
        return tuple(next(iter(names)) for names in found) if of_one and several else ()

    @property
    def row_names(self) -> tuple[str, ...]:
        """What every row is of, where each is of one thing and columns are not; else empty."""
        if not self.names or self.headings:
            return ()
        rows = [self.names[start : start + self.columns] for start in range(0, len(self.names), self.columns)]
        return tuple(row[0] for row in rows) if all(len(set(row)) == 1 for row in rows) else ()


def grid_of_classes(
    pixels: Tensor, labels: Tensor, class_names: Sequence[str], *, most: int = MOST_COLUMNS, columns: int = 10
) -> Grid:
    """Arrange pictures by class: a column a class, or, of many classes, the classes one after another.

    Args:
        pixels: (N, C, H, W) in [0, 1], in any order.
        labels: (N,) class indices, or soft labels (N, K), whose largest entry counts.
        class_names: The K names.
        most: Classes that have a column each.
        columns: Pictures in a row, of more classes.

    Returns:
        The grid; with a column a class, places of classes that have fewer pictures than another are NaN, which is shown
        as paper.
    """
    indices = (labels.argmax(1) if labels.ndim == 2 else labels).long().cpu()
    counts = indices.bincount(minlength=len(class_names))
    shown = counts.nonzero().flatten()
    order = indices.argsort(stable=True)
    if 1 < len(shown) <= most:
        rows, starts = int(counts.max()), (counts.cumsum(0) - counts)[shown]
        there = torch.arange(rows)[:, None] < counts[shown]
        places = order[(starts + torch.arange(rows)[:, None]).clamp(max=len(order) - 1)]
        found = pixels[places.flatten().to(pixels.device)].float()
        found[~there.flatten().to(pixels.device)] = torch.nan
        return Grid(found, len(shown), tuple(str(class_names[kind]) for kind in shown.tolist()) * rows)
    return Grid(pixels[order.to(pixels.device)], columns, tuple(str(class_names[kind]) for kind in indices[order]))


def empty_places(grid: Grid) -> list[bool]:
    """Return for each place of a grid whether there is no picture."""
    found: list[bool] = grid.pixels.detach().flatten(1)[:, 0].isnan().tolist()
    return found


def as_grid(pictures: Tensor | Grid, columns: int | None = None) -> Grid:
    """Return pictures of which nothing is said as a grid of so many columns; None: a square, as far as it goes."""
    if isinstance(pictures, Grid):
        return pictures
    return Grid(pictures, columns or max(1, math.ceil(math.sqrt(len(pictures)))))


def factor_of(grid: Grid, width: int) -> int:
    """Return by which whole number pictures are enlarged so that a grid is at least so many pixels wide."""
    columns = min(grid.columns, len(grid.pixels))
    return max(1, math.ceil(width / (columns * (int(grid.pixels.shape[3]) + 1))))


def enlarged(grid: Grid, factor: int) -> Tensor:
    """Return the pictures as uint8 (N, 3, H, W), with hard edges.

    Raises:
        UserError: They have another shape, or there are none.
    """
    pixels = grid.pixels
    if pixels.ndim != 4 or len(pixels) == 0 or pixels.shape[1] not in (1, 3):
        raise UserError(f"a grid shows images (N, 1 or 3, H, W), got {tuple(pixels.shape)}")
    values = (pixels.detach().float().cpu().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    return values.expand(-1, 3, -1, -1).repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def drawn(grid: Grid, title: str = "", width: int = 480) -> Image.Image:
    """Draw a grid on white, with its names and a title.

    A name stands above its column, upright where there is no room for it, before its row, or above each picture.

    Args:
        grid: The pictures.
        title: A line above all; empty: none.
        width: Least width in pixels; pictures are enlarged by a whole factor.

    Returns:
        A picture in Pillow's mode ``RGB``.

    Raises:
        UserError: The pictures have another shape, or there are none.
    """
    from PIL import Image, ImageDraw

    if grid.pixels.ndim != 4 or len(grid.pixels) == 0:
        raise UserError(f"a grid shows images (N, 1 or 3, H, W), got {tuple(grid.pixels.shape)}")
    each = bool(grid.names) and not grid.headings and not grid.row_names
    columns = min(grid.columns, len(grid.pixels))
    factor = factor_of(grid, max(width, columns * ROOM_FOR_A_NAME) if each else width)
    values = enlarged(grid, factor)
    count, _, tall, broad = values.shape
    gap, rows = max(1, factor // 2), math.ceil(count / columns)
    names = [visible(name, LONGEST) for name in grid.names]
    headings = [visible(name, LONGEST) for name in grid.headings]
    at_rows = [visible(name, LONGEST) for name in grid.row_names]
    font = font_of(max(11, min(16, tall // 3)))
    line = round(1.35 * font.size)
    upright = bool(headings) and max(font.getlength(name) for name in headings) > broad
    longest = max((font.getlength(name) for name in headings), default=0.0)
    top = (line if title else 0) + (0 if not headings else math.ceil(longest) + 6 if upright else line)
    left = math.ceil(max((font.getlength(name) for name in at_rows), default=0.0)) + (8 if at_rows else 0)
    high = tall + (line if each else 0)
    size = (left + columns * (broad + gap) - gap, top + rows * (high + gap) - gap)
    canvas = Image.new("RGB", size, WHITE)
    pen = ImageDraw.Draw(canvas)
    if title:
        pen.text((left, 0), shortened(title, font, size[0] - left), INK, font)
    for place, name in enumerate(headings):
        x = left + place * (broad + gap)
        if upright:
            word = Image.new("RGB", (math.ceil(longest) + 4, line), WHITE)
            ImageDraw.Draw(word).text((0, 0), name, SOFT, font)
            word = word.rotate(90, expand=True)
            canvas.paste(word, (x + max(0, (broad - word.width) // 2), top - word.height))
        else:
            pen.text((x + broad / 2, top - line), name, SOFT, font, anchor="ma")
    for place, name in enumerate(at_rows):
        pen.text((left - 8, top + place * (high + gap) + high / 2), name, SOFT, font, anchor="rm")
    nothing = empty_places(grid)
    for place in range(count):
        if nothing[place]:
            continue
        x, y = left + place % columns * (broad + gap), top + place // columns * (high + gap)
        if each:
            pen.text((x, y), shortened(names[place], font, broad), SOFT, font)
        picture = Image.fromarray(values[place].permute(1, 2, 0).contiguous().numpy())
        canvas.paste(picture, (x, y + high - tall))
    return canvas


def shortened(text: str, font: Any, room: float) -> str:
    """Return as much of a text as has room, in pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…" if text else ""


@cache
def font_of(size: int) -> Any:
    """Return the font of the pictures' words: the one that comes with matplotlib, which knows most letters."""
    from PIL import ImageFont

    found = importlib.util.find_spec("matplotlib")
    path = Path(str(found.origin)).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" if found else None
    if path is not None and path.is_file():
        return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)
