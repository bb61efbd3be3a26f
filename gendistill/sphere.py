"""Geometry of the latent prior: the sphere of radius sqrt(d), on which a Gaussian in d dimensions concentrates.

Every function works on the last dimension, sample by sample, never across a batch. A latent (N, L, d) of a network with
L styles is so a point on a product of N * L spheres. The radius is fixed at sqrt(d), not that of the start, since that
is where the generator was trained.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError


def project(z: Tensor, radius: float | None = None, *, check: bool = True) -> Tensor:
    """Return the nearest points on the sphere.

    Args:
        z: (..., d), no row all zero.
        radius: Radius of the sphere. None: sqrt(d).
        check: Look for rows that cannot be projected, which waits for a GPU. Without it they become NaN.

    Returns:
        (..., d) of norm ``radius``.

    Raises:
        UserError: A row is zero or not finite, and ``check`` is on.
    """
    # Dividing by the largest entry first keeps squares inside float32's range for tiny and huge vectors alike.
    largest = z.detach().abs().amax(-1, keepdim=True)
    if check and not bool((largest.isfinite() & (largest > 0)).all()):
        raise UserError(
            "a latent that is zero or not finite has no direction and cannot be put on the sphere; start from normal "
            "noise"
        )
    scaled = z / largest
    return scaled * (_radius(z, radius) / torch.linalg.vector_norm(scaled, dim=-1, keepdim=True))


def uniform(count: int, d: int, generator: torch.Generator, radius: float | None = None) -> Tensor:
    """Draw points (count, d) uniformly from the sphere, on the generator's device."""
    return project(torch.randn(count, d, generator=generator, device=generator.device), radius)


def tangent(gradient: Tensor, z: Tensor) -> Tensor:
    """Remove from a gradient (..., d) its part along ``z`` (..., d), which only changes the norm."""
    direction = project(z, 1.0, check=False)
    return gradient - direction * (direction * gradient).sum(-1, keepdim=True)


def retract(z: Tensor, step: Tensor, radius: float | None = None) -> Tensor:
    """Take a step (..., d) from ``z`` (..., d) and return to the sphere by projection.

    A tangent step never meets the centre, so nothing is checked here.
    """
    return project(z + step, radius, check=False)


def clip(z: Tensor, radius: float | None = None) -> Tensor:
    """Bring points (..., d) outside the ball onto its surface; leave those inside alone."""
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    limit = _radius(z, radius)
    outside = norm > limit
    # A point inside is not projected, not even to be thrown away: in the centre that has no gradient but NaN.
    return torch.where(outside, project(torch.where(outside, z, 1.0), limit, check=False), z)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle (...) between vectors (..., d), in radians, 0..pi.

    Kahan's form 2 atan2(|a - b|, |a + b|) of unit vectors: unlike acos it is exact near 0 and pi in float32.
    """
    a, b = project(a, 1.0, check=False), project(b, 1.0, check=False)
    norm = torch.linalg.vector_norm
    return 2 * torch.atan2(norm(a - b, dim=-1), norm(a + b, dim=-1))


def geodesic_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the length (...) of the shortest path on the sphere from ``a`` to ``b``, both (..., d) and on it."""
    return angle(a, b) * torch.linalg.vector_norm(a, dim=-1)


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Interpolate along the great circle (Shoemake 1985), at constant speed.

    Args:
        a: (..., d), reached at t = 0; not zero.
        b: (..., d), reached at t = 1; not zero. Of any norm: norms are interpolated linearly.
        t: A number, or a tensor that broadcasts against (...).

    Returns:
        (..., d). Equal ends stay where they are. Between antipodes, where every great circle is a shortest path, one
        fixed by ``a`` alone is taken.

    Raises:
        UserError: An end is zero or not finite.
    """
    start, end = project(a, 1.0), project(b, 1.0)
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)[..., None]
    # Written as start * cos + perpendicular * sin, which has no division by sin(angle).
    perpendicular = end - start * (start * end).sum(-1, keepdim=True)
    length = torch.linalg.vector_norm(perpendicular, dim=-1, keepdim=True)
    lost = length < 4 * torch.finfo(a.dtype).eps
    perpendicular = torch.where(lost, _any_perpendicular(start), perpendicular / torch.where(lost, 1.0, length))
    turn = t * angle(start, end)[..., None]
    direction = project(start * turn.cos() + perpendicular * turn.sin(), 1.0, check=False)
    first, last = (torch.linalg.vector_norm(x, dim=-1, keepdim=True) for x in (a, b))
    return direction * torch.lerp(first, last, t)


def _radius(z: Tensor, radius: float | None) -> float:
    if radius is not None and radius <= 0:
        raise UserError(f"the radius of a sphere is {radius}; give a positive number, or none for sqrt(d)")
    return z.shape[-1] ** 0.5 if radius is None else radius


def _any_perpendicular(unit: Tensor) -> Tensor:
    """Return a unit vector (..., d) at right angles to each unit vector: the axis it leans on least, made tangent."""
    axis = torch.zeros_like(unit).scatter(-1, unit.abs().argmin(-1, keepdim=True), 1.0)
    return project(tangent(axis, unit), 1.0, check=False)
