"""Grids of images as figures: their pixels as they are, their words as vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gendistill.escapes import figure_text
from gendistill.grids import Grid, as_grid, empty_places, enlarged
from gendistill.report.drawing import PRINT, Form

if TYPE_CHECKING:
    from torch import Tensor


def grid_figure(pictures: Tensor | Grid, form: Form = PRINT, title: str = "") -> Any:
    """Draw a grid with its names above its columns, before its rows or above each picture.

    Args:
        pictures: A grid, or pixels (N, C, H, W) in [0, 1], ten to a row.
        form: Where the figure will stand.
        title: A line above all; empty: none.

    Returns:
        A matplotlib ``Figure``.
    """
    from matplotlib.figure import Figure

    grid = as_grid(pictures, 10)
    values, nothing = enlarged(grid, 1).permute(0, 2, 3, 1).numpy(), empty_places(grid)
    columns = min(grid.columns, len(values))
    rows = -(-len(values) // columns)
    cell = form.width / columns
    each = bool(grid.names) and not grid.headings and not grid.row_names
    longest = max(map(len, grid.headings), default=0)
    letters = min(form.letters, 0.8 * cell * 72)
    upright = longest * 0.62 * letters > 0.9 * cell * 72
    above = (longest * 0.62 * letters if upright else 1.4 * letters) / 72 if grid.headings else 0.0
    tall = cell * values.shape[1] / values.shape[2] + (1.4 * letters / 72 if each else 0.0)
    figure = Figure(figsize=(form.width, rows * tall + above + (1.8 * form.letters / 72 if title else 0.0)))
    high = figure.get_figheight()
    for place, picture in enumerate(values):
        row, column = divmod(place, columns)
        bottom = (high - above - (high - above - rows * tall if title else 0.0) - (row + 1) * tall) / high
        size = (0.94 * cell / form.width, 0.94 * cell * values.shape[1] / values.shape[2] / high)
        axes = figure.add_axes((column * cell / form.width, bottom, *size))
        axes.set_axis_off()
        if not nothing[place]:
            axes.imshow(picture, interpolation="nearest", aspect="auto")
        words = grid.headings[column] if grid.headings and not row else grid.names[place] if each else ""
        words = grid.row_names[row] if grid.row_names and not column else words
        if words:
            axes.set_title(
                figure_text(words), fontsize=letters, color=form.ink, pad=2,
                rotation=90 if upright and grid.headings else 0,
            )  # fmt: skip
    if title:
        figure.suptitle(figure_text(title), fontsize=form.letters, color=form.ink, y=0.995, va="top")
    return figure
