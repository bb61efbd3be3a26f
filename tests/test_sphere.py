from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gendistill import sphere
from gendistill.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_project_has_radius_sqrt_d_for_each_row() -> None:
    z = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    root = math.sqrt(2)
    torch.testing.assert_close(sphere.project(z), torch.tensor([[0.6 * root, 0.8 * root], [0.0, -root]]))
    torch.testing.assert_close(sphere.project(z, 10.0), torch.tensor([[6.0, 8.0], [0.0, -10.0]]))


def test_project_is_done_sample_by_sample() -> None:
    z = torch.randn(4, 3, 8, generator=generator())
    one_by_one = torch.stack([torch.stack([sphere.project(row) for row in sample]) for sample in z])
    torch.testing.assert_close(sphere.project(z), one_by_one)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 200), st.floats(-36, 37))
def test_float32_keeps_the_radius_at_every_scale(seed: int, d: int, exponent: float) -> None:
    z = torch.randn(3, d, generator=generator(seed)) * 10.0**exponent / 10
    projected = sphere.project(z)
    torch.testing.assert_close(projected.norm(dim=-1), torch.full((3,), math.sqrt(d)), rtol=1e-5, atol=0)
    torch.testing.assert_close(sphere.project(projected), projected)


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_rows_without_direction_are_refused_or_become_nan(bad: float) -> None:
    z = torch.ones(3, 4)
    z[1] = bad
    with pytest.raises(UserError, match="start from normal noise"):
        sphere.project(z)
    assert sphere.project(z, check=False).isnan().any(-1).tolist() == [False, True, False]
    with pytest.raises(UserError):
        sphere.slerp(torch.ones(3, 4), z, 0.5)


@pytest.mark.parametrize("radius", [0.0, -1.0])
def test_radius_is_positive(radius: float) -> None:
    with pytest.raises(UserError, match="positive"):
        sphere.project(torch.ones(2), radius)


def test_uniform_is_on_the_sphere_and_has_no_direction() -> None:
    z = sphere.uniform(4000, 5, generator())
    torch.testing.assert_close(z.norm(dim=-1), torch.full((4000,), math.sqrt(5)))
    # On the sphere of radius sqrt(d) the mean is 0 and the covariance the identity.
    assert z.mean(0).abs().max() < 0.06
    assert (z.T @ z / 4000 - torch.eye(5)).abs().max() < 0.06
    assert torch.equal(z, sphere.uniform(4000, 5, generator()))


def test_project_gradient() -> None:
    z = torch.randn(3, 4, generator=generator(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sphere.project, (z,))
    assert torch.autograd.gradcheck(lambda x: sphere.slerp(x, x.flip(-1), 0.3), (z,))


def test_tangent_in_closed_form() -> None:
    gradient = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(sphere.tangent(gradient, torch.tensor([[0.0, 5.0, 0.0]])), torch.tensor([[1.0, 0, 3.0]]))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(2, 64))
def test_tangent_is_a_projection_at_right_angles(seed: int, d: int) -> None:
    draws = generator(seed)
    z, gradient = (torch.randn(3, d, generator=draws, dtype=torch.float64) for _ in range(2))
    step = sphere.tangent(gradient, z)
    torch.testing.assert_close((step * z).sum(-1), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(sphere.tangent(step, z), step)
    # What was removed lies along z.
    torch.testing.assert_close(sphere.tangent(gradient - step, z), torch.zeros_like(z))


def test_retract_in_closed_form() -> None:
    z, step = unit(1.0, 0.0), unit(0.0, 1.0)
    torch.testing.assert_close(sphere.retract(z, step), unit(1.0, 1.0))


def test_clip_leaves_the_inside_alone() -> None:
    z = torch.tensor([[0.3, 0.4], [3.0, 4.0], [0.0, 0.0]])
    expected = torch.tensor([[0.3, 0.4], [0.6, 0.8], [0.0, 0.0]])
    torch.testing.assert_close(sphere.clip(z, 1.0), expected)


def test_distance_in_closed_form() -> None:
    a, b = unit(2.0, 0.0), unit(0.0, 2.0)
    torch.testing.assert_close(sphere.geodesic_distance(a, b), torch.tensor(math.pi, dtype=torch.float64))
    torch.testing.assert_close(sphere.geodesic_distance(a, -a), torch.tensor(2 * math.pi, dtype=torch.float64))
    assert sphere.geodesic_distance(a, a) == 0


@pytest.mark.parametrize("small", [1e-6, 1e-4, math.pi - 1e-5])
def test_small_and_nearly_straight_angles_survive_float32(small: float) -> None:
    a = torch.tensor([1.0, 0.0])
    b = torch.tensor([math.cos(small), math.sin(small)])
    assert abs(float(sphere.angle(a, b)) - small) < 3e-7


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(2, 64), st.floats(0, 1))
def test_slerp_divides_the_distance(seed: int, d: int, t: float) -> None:
    a, b = sphere.uniform(6, d, generator(seed)).double().split(3)
    a, b = sphere.project(a), sphere.project(b)
    between = sphere.slerp(a, b, t)
    whole = sphere.geodesic_distance(a, b)
    torch.testing.assert_close(between.norm(dim=-1), torch.full((3,), math.sqrt(d), dtype=torch.float64))
    torch.testing.assert_close(sphere.geodesic_distance(a, between), t * whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(sphere.geodesic_distance(between, b), (1 - t) * whole, atol=1e-6, rtol=1e-6)


def test_slerp_equals_the_textbook() -> None:
    a, b = sphere.uniform(8, 16, generator()).split(4)
    omega = sphere.angle(a, b)[:, None]
    t = torch.tensor([0.0, 0.2, 0.7, 1.0])
    textbook = (((1 - t[:, None]) * omega).sin() * a + (t[:, None] * omega).sin() * b) / omega.sin()
    torch.testing.assert_close(sphere.slerp(a, b, t), textbook)


def test_slerp_of_equal_ends_stays() -> None:
    a = sphere.uniform(5, 16, generator())
    torch.testing.assert_close(sphere.slerp(a, a, 0.4), a)


def test_slerp_of_antipodes_goes_half_round() -> None:
    a = sphere.uniform(5, 16, generator())
    for t in (0.0, 0.25, 0.5, 1.0):
        point = sphere.slerp(a, -a, t)
        torch.testing.assert_close(sphere.angle(a, point), torch.full((5,), t * math.pi), atol=1e-5, rtol=0)
        torch.testing.assert_close(point.norm(dim=-1), a.norm(dim=-1))
    torch.testing.assert_close(sphere.slerp(a, -a, 1.0), -a, atol=1e-5, rtol=0)


def test_slerp_interpolates_norms() -> None:
    torch.testing.assert_close(sphere.slerp(unit(1.0, 0.0), unit(0.0, 3.0), 0.5), unit(math.sqrt(2), math.sqrt(2)))


def test_clip_has_a_gradient_everywhere() -> None:
    """The identity's inside, also in the centre; outside that of a projection."""
    z = torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.2, 0.1], [2.0, 1.0, -3.0]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[1.0, -2.0, 3.0]] * 3, dtype=torch.float64)
    gradient = torch.autograd.grad((sphere.clip(z, 1.0) * weights).sum(), z)[0]
    assert torch.equal(gradient[:2], weights[:2])
    point = z.detach()[2]
    jacobian = (torch.eye(3, dtype=torch.float64) - torch.outer(point, point) / point.dot(point)) / point.norm()
    torch.testing.assert_close(gradient[2], jacobian @ weights[2])
    huge = torch.tensor([[1e30, 1e30], [1e-30, 0.0]], requires_grad=True)
    found = sphere.clip(huge, 2.0)
    torch.testing.assert_close(found, torch.tensor([[2**0.5, 2**0.5], [1e-30, 0.0]]), atol=0, rtol=1e-6)
    assert torch.autograd.grad(found.sum(), huge)[0].isfinite().all()
