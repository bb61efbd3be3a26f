"""Points as a picture: a scatter plot with the modes drawn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.cloud import Cloud

SIDE = 420
"""Pixels a side."""
FINE = 2
"""How many times finer it is drawn than it is shown."""
DOT = 2
"""Fine pixels on each side of a point's own."""
GOOD_WITHIN = 3.0
"""Standard deviations within which a point is good: the radius of the circles."""
WHITE, GOOD, BAD, FOUND, MISSED = (
    (1.0, 1.0, 1.0), (0.0, 0.27, 0.55), (0.90, 0.45, 0.0), (0.55, 0.55, 0.55), (0.85, 0.0, 0.1),
)  # fmt: skip


def nearest_mode(coordinates: Tensor, cloud: Cloud) -> tuple[Tensor, Tensor]:
    """Return the number (N,) of the mode nearest to each point (N, 2), and the distance (N,) in standard deviations."""
    apart = torch.cdist(coordinates.double(), cloud.positions())
    least = apart.min(1)
    return least.indices, least.values / cloud.sigma


def scatter(pixels: Tensor, cloud: Cloud) -> Tensor:
    """Draw points over their modes.

    Every mode has a circle of three standard deviations, at least three pixels: grey, or red where no point is in it.
    Points within three standard deviations of a mode are blue, others orange. Those beyond the square of the cloud's
    extent are drawn at its edge.

    Args:
        pixels: Points (N, 2, 1, 1) in [0, 1], or beyond; those that are not finite are left out.
        cloud: Their modes.

    Returns:
        One picture (1, 3, S, S) in [0, 1] on the CPU.
    """
    size = SIDE * FINE
    coordinates = cloud.coordinates(pixels)
    coordinates = coordinates[coordinates.isfinite().all(1)]
    mode, distance = nearest_mode(coordinates, cloud)
    good = distance < GOOD_WITHIN
    held = torch.bincount(mode[good], minlength=len(cloud.centres)) > 0
    canvas = torch.tensor(WHITE).view(3, 1, 1).repeat(1, size, size)
    radius = max(GOOD_WITHIN * cloud.sigma / (2 * cloud.extent) * size, 3.0 * FINE)
    for centre, there in zip(_places(cloud.positions(), cloud, size), held.tolist(), strict=True):
        _circle(canvas, centre, radius, FOUND if there else MISSED)
    places = _places(coordinates, cloud, size).round().long()
    for chosen, colour in ((~good, BAD), (good, GOOD)):
        dots = torch.zeros(size, size)
        columns, rows = places[chosen].unbind(1)
        dots[rows.clamp(0, size - 1), columns.clamp(0, size - 1)] = 1.0
        wide = F.max_pool2d(dots[None, None], 2 * DOT - 1, 1, DOT - 1)[0, 0] > 0
        canvas[:, wide] = torch.tensor(colour).view(3, 1)
    return F.avg_pool2d(canvas[None], FINE)


def _places(coordinates: Tensor, cloud: Cloud, size: int) -> Tensor:
    """Return columns and rows (N, 2) of coordinates, y upwards."""
    share = (coordinates / cloud.extent + 1) / 2
    return torch.stack((share[:, 0], 1 - share[:, 1]), 1) * (size - 1)


def _circle(canvas: Tensor, centre: Tensor, radius: float, colour: tuple[float, float, float]) -> None:
    """Draw a ring of two fine pixels around a place (column, row), in place."""
    reach = int(radius) + 3
    column, row = (int(value) for value in centre.round().tolist())
    size = canvas.shape[1]
    top, bottom = max(0, row - reach), min(size, row + reach + 1)
    left, right = max(0, column - reach), min(size, column + reach + 1)
    down = torch.arange(top, bottom).view(-1, 1) - float(centre[1])
    across = torch.arange(left, right).view(1, -1) - float(centre[0])
    on = ((down.square() + across.square()).sqrt() - radius).abs() <= FINE / 2
    canvas[:, top:bottom, left:right][:, on] = torch.tensor(colour).view(3, 1)
