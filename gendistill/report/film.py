"""A film of a grid of images, and the plot of a path, as files that any viewer opens."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from gendistill.errors import UserError
from gendistill.grids import Grid, drawn


def gif(
    frames: Sequence[Tensor],
    columns: int = 10,
    width: int = 420,
    milliseconds: int = 100,
    *,
    steps: Sequence[int] = (),
    names: Sequence[str] = (),
) -> bytes:
    """Return a GIF that repeats.

    Args:
        frames: One grid (N, C, H, W) a picture, uint8 or in [0, 1]; C of 1 or 3, N the same in all.
        columns: Images in a row.
        width: Least width in pixels; see :func:`gendistill.grids.drawn`.
        milliseconds: Time of one picture; the last stands five times as long.
        steps: The step of each picture, which stands above it; empty: none does.
        names: What each column is of, where each has one; empty: it is not said.

    Raises:
        UserError: There is no picture, or a grid has another shape.
    """
    if not frames:
        raise UserError("a film needs at least one picture")
    pictures = []
    for place, frame in enumerate(frames):
        pixels = frame.float() / 255 if not frame.is_floating_point() else frame
        # A grid of plots has no columns of classes.
        told = tuple(names) * (len(pixels) // len(names)) if names and columns == len(names) <= len(pixels) else ()
        pictures.append(drawn(Grid(pixels, columns, told), f"step {steps[place]:,}" if steps else "", width))
    buffer = io.BytesIO()
    times = [milliseconds] * (len(pictures) - 1) + [5 * milliseconds]
    # Pillow joins equal neighbours, and then adds up their times.
    pictures[0].save(buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0)
    return buffer.getvalue()


def path_plot(path: Mapping[str, Any]) -> bytes:
    """Draw norms and angles of latents over the steps of a search.

    Args:
        path: ``step``, ``norm_mean``, ``norm_min``, ``norm_max``, ``angle_mean`` (radians) and ``radius``, as a latent
            search's teacher keeps them in its metadata.

    Returns:
        A PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.6), dpi=110, layout="constrained")
    norms, angles = figure.subplots(2, 1, sharex=True)
    norms.fill_between(
        path["step"], path["norm_min"], path["norm_max"], alpha=0.2, linewidth=0, label="smallest to largest"
    )
    norms.plot(path["step"], path["norm_mean"], label="mean")
    norms.axhline(path["radius"], color="black", linewidth=1, linestyle="--", label="square root of the size")
    norms.set_ylabel("norm of a latent")
    norms.ticklabel_format(axis="y", useOffset=False)
    low, high = norms.get_ylim()
    least = 0.02 * max(abs(low), abs(high))  # rounding errors of a constant shall not fill the plot
    if high - low < least:
        norms.set_ylim((low + high - least) / 2, (low + high + least) / 2)
    norms.legend(fontsize=8)
    angles.plot(path["step"], path["angle_mean"])
    angles.set_ylabel("mean angle to the start, radians")
    angles.set_xlabel("step of the search")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
