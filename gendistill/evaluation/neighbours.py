"""Precision, recall, density and coverage: fidelity and diversity apart, from nearest neighbours in feature space."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError

ROWS = 1024
"""Rows of a distance matrix held at a time."""

EQUAL = 1e-12
"""Squared distances below this fraction of the squared norms are rounding, not distance (float64)."""


def neighbour_scores(real: Tensor, fake: Tensor, *, nearest: int = 5) -> dict[str, float]:
    """Return improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A ball around each image reaches to its ``nearest``-th neighbour within its own set.

    Args:
        real: (N, D) features of real images.
        fake: (M, D) features of the teacher's images.
        nearest: Which neighbour sets the radius; lowered to one less than the smaller set has.

    Returns:
        ``precision``: fraction of fake images in the ball of some real image; ``recall``: fraction of real images in
        the ball of some fake image; ``density``: real balls around a fake image, divided by ``nearest`` (may exceed 1);
        ``coverage``: fraction of real images with a fake image in their ball; ``nearest`` as used.

    Raises:
        UserError: The widths differ, a set has fewer than 2 images or ``nearest`` is not positive.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise UserError(f"neighbours need features (N, D) and (M, D), got {tuple(real.shape)} and {tuple(fake.shape)}")
    if nearest < 1 or min(len(real), len(fake)) < 2:
        raise UserError(
            f"neighbours need at least 2 images on each side and nearest at least 1, got {len(real)} real, "
            f"{len(fake)} fake, nearest {nearest}"
        )
    real, fake = real.to(torch.float64), fake.to(torch.float64)
    centre = real.mean(0)  # a common shift changes no distance and keeps the products small
    real, fake = real - centre, fake - centre
    nearest = min(nearest, len(real) - 1, len(fake) - 1)
    real_radii, fake_radii = _radii(real, nearest), _radii(fake, nearest)
    real_balls = torch.zeros(len(fake), dtype=torch.int64, device=real.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for start in range(0, len(real), ROWS):
        rows = slice(start, start + ROWS)
        distances = _distances(real[rows], fake)
        inside = distances < real_radii[rows, None]
        real_balls += inside.sum(0)
        covered[rows] = inside.any(1)
        recalled[rows] = (distances < fake_radii).any(1)
    return {
        "precision": float((real_balls > 0).double().mean()),
        "recall": float(recalled.double().mean()),
        "density": float(real_balls.double().mean() / nearest),
        "coverage": float(covered.double().mean()),
        "nearest": nearest,
    }


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Squared distances (N, M) through one matrix product, in which equal rows are at distance exactly 0."""
    scale = first.square().sum(1)[:, None] + second.square().sum(1)
    squared = scale - 2 * first @ second.T
    # What is left below the rounding of the sum is noise; it would decide at random between copies of one image.
    return squared.masked_fill_(squared < EQUAL * scale, 0)


def _radii(features: Tensor, nearest: int) -> Tensor:
    """Squared distance of each row to its ``nearest``-th other row (N,)."""
    radii = torch.empty(len(features), dtype=features.dtype, device=features.device)
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        # The nearest of all is the image itself, at distance 0.
        radii[rows] = _distances(features[rows], features).kthvalue(nearest + 1, dim=1).values
    return radii
