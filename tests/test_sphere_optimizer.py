from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gendistill import sphere
from gendistill.errors import UserError
from gendistill.sphere_optimizer import CONSTRAINTS, SphereOptimizer

Make = Callable[[list[Tensor]], torch.optim.Optimizer]
INNER: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
}


def latents(seed: int = 0, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (4, 8)), generator=generator, dtype=torch.float64).requires_grad_()


def descend(optimizer: SphereOptimizer, z: Tensor, steps: int) -> Tensor:
    """Make z point at fixed targets."""
    target = torch.linspace(-1, 1, z.numel(), dtype=z.dtype).view_as(z)
    for _ in range(steps):
        optimizer.zero_grad()
        (z - target).square().sum().backward()
        optimizer.step()
    return target


def norms(z: Tensor) -> Tensor:
    return z.detach().norm(dim=-1)


@pytest.mark.parametrize("inner", INNER)
def test_reaches_the_nearest_points_of_the_sphere(inner: str) -> None:
    z = latents()
    target = descend(SphereOptimizer(INNER[inner]([z])), z, 400)
    torch.testing.assert_close(z.detach(), sphere.project(target), atol=1e-3, rtol=0)


def test_every_step_ends_on_each_sphere_of_a_product() -> None:
    z = latents(1, 2, 3, 5)
    optimizer = SphereOptimizer(INNER["adam"]([z]))
    torch.testing.assert_close(norms(z), torch.full((2, 3), math.sqrt(5), dtype=torch.float64))
    for _ in range(3):
        descend(optimizer, z, 1)
        torch.testing.assert_close(norms(z), torch.full((2, 3), math.sqrt(5), dtype=torch.float64))


def test_sgd_is_projected_gradient_descent() -> None:
    z = latents()
    optimizer = SphereOptimizer(INNER["sgd"]([z]))
    start = z.detach().clone()
    target = descend(optimizer, z, 1)
    gradient = 2 * (start - target)
    for row, (before, slope) in enumerate(zip(start, gradient, strict=True)):
        moved = before - 0.1 * (slope - before * (before @ slope) / (before @ before))
        torch.testing.assert_close(z[row].detach(), moved / moved.norm() * math.sqrt(8))


def test_moments_hold_no_radial_part() -> None:
    z = latents()
    optimizer = SphereOptimizer(INNER["momentum"]([z]))
    start = z.detach().clone()
    descend(optimizer, z, 1)
    radial = (optimizer.state[z]["momentum_buffer"] * start).sum(-1)
    torch.testing.assert_close(radial, torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("inner", INNER)
def test_resumed_equals_uninterrupted(inner: str) -> None:
    whole = latents()
    optimizer = SphereOptimizer(INNER[inner]([whole]))
    descend(optimizer, whole, 3)
    saved, position = copy.deepcopy(optimizer.state_dict()), whole.detach().clone()
    descend(optimizer, whole, 3)

    again = latents(5)
    resumed = SphereOptimizer(INNER[inner]([again]))
    with torch.no_grad():
        again.copy_(position)
    resumed.load_state_dict(saved)
    descend(resumed, again, 3)
    assert torch.equal(again, whole)


def test_schedulers_work_before_and_after_loading() -> None:
    z = latents()
    optimizer = SphereOptimizer(INNER["sgd"]([z]))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    descend(optimizer, z, 1)
    scheduler.step()
    assert optimizer.inner.param_groups[0]["lr"] == 0
    before = z.detach().clone()
    descend(optimizer, z, 1)
    torch.testing.assert_close(z.detach(), before)


def test_closure_and_added_groups() -> None:
    first, second, still = latents(0), latents(1), latents(2)
    optimizer = SphereOptimizer(INNER["sgd"]([first]))
    optimizer.add_param_group({"params": [second, still], "lr": 0.5})
    before = [second.detach().clone(), still.detach().clone()]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = first.sum() + second.sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.shape == ()
    assert not torch.equal(second, before[0])
    assert torch.equal(still, before[1])
    torch.testing.assert_close(norms(second), torch.full((4,), math.sqrt(8), dtype=torch.float64))


def test_none_is_the_inner_optimiser_alone() -> None:
    z, plain = latents(), latents()
    descend(SphereOptimizer(INNER["adam"]([z]), "none"), z, 5)
    inner = INNER["adam"]([plain])
    descend(inner, plain, 5)  # type: ignore[arg-type]
    assert torch.equal(z, plain)


def test_l2_is_a_penalty_on_the_loss() -> None:
    z, plain = latents(), latents()
    descend(SphereOptimizer(INNER["adam"]([z]), "l2", weight_decay=0.3), z, 5)
    descend(torch.optim.Adam([plain], lr=0.05, weight_decay=0.3), plain, 5)  # type: ignore[arg-type]
    torch.testing.assert_close(z.detach(), plain.detach())


def test_clip_only_bounds_the_norm() -> None:
    z = latents()
    with torch.no_grad():
        z[0] *= 100
        z[1] *= 0.01
    small = z[1].detach().clone()
    optimizer = SphereOptimizer(torch.optim.SGD([z], lr=0.0), "clip")
    z.sum().backward()
    optimizer.step()
    assert math.isclose(norms(z)[0], math.sqrt(8))
    assert torch.equal(z[1], small)


def test_truncation_bounds_every_entry_and_leaves_the_others() -> None:
    z = latents()
    with torch.no_grad():
        z[0, 0], z[1, 1] = 3.0, -3.0
    inside = (z.detach().abs() < 1.5) & (torch.arange(8) > 1)
    before = z.detach().clone()
    optimizer = SphereOptimizer(torch.optim.SGD([z], lr=0.0), "truncation", truncation=1.5)
    assert z.detach().abs().max() == 1.5 and z[1, 1] == -1.5
    assert torch.equal(z[inside], before[inside])
    descend(SphereOptimizer(INNER["adam"]([z]), "truncation", truncation=0.5), z, 200)
    target = torch.linspace(-1, 1, z.numel(), dtype=z.dtype).view_as(z).clamp(-0.5, 0.5)
    torch.testing.assert_close(z.detach(), target, atol=1e-3, rtol=0)
    assert optimizer.truncation == 1.5


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_a_group_may_have_a_constraint_of_its_own(kind: str) -> None:
    """Two groups in one optimiser move as each alone would."""
    first, second, alone, free = latents(0), latents(1), latents(0), latents(1)
    groups = [{"params": [first]}, {"params": [second], "constraint": kind, "lr": 0.01}]
    both = SphereOptimizer(torch.optim.SGD(groups, lr=0.1))
    apart = [
        SphereOptimizer(torch.optim.SGD([alone], lr=0.1)),
        SphereOptimizer(torch.optim.SGD([free], lr=0.01), kind),
    ]
    for _ in range(4):
        both.load_state_dict(copy.deepcopy(both.state_dict()))
        for optimizer, pair in ((both, (first, second)), (apart[0], (alone,)), (apart[1], (free,))):
            optimizer.zero_grad()
            torch.stack([(z - 0.3).square().sum() for z in pair]).sum().backward()
            optimizer.step()
    assert torch.equal(first, alone) and torch.equal(second, free)


def test_refusals() -> None:
    z = latents()
    with pytest.raises(UserError, match="did you mean 'sphere'"):
        SphereOptimizer(INNER["sgd"]([z]), "spher")
    with pytest.raises(UserError, match="0 or more"):
        SphereOptimizer(INNER["sgd"]([z]), "l2", weight_decay=-1)
    with pytest.raises(UserError, match="positive"):
        SphereOptimizer(INNER["sgd"]([z]), "truncation", truncation=0)
    with pytest.raises(UserError, match="did you mean 'clip'"):
        SphereOptimizer(torch.optim.SGD([{"params": [z], "constraint": "clipp"}], lr=0.1))
    with pytest.raises(UserError, match="no direction"):
        SphereOptimizer(INNER["sgd"]([torch.zeros(2, 3, requires_grad=True)]))


def test_agrees_with_geoopt() -> None:
    geoopt = pytest.importorskip("geoopt")
    z = latents()
    ours = SphereOptimizer(torch.optim.SGD([z], lr=0.05))
    radius = math.sqrt(8)
    # Its sphere has radius 1. With z = r u the gradient in u is r times that in z, so its rate is ours over r^2.
    point = geoopt.ManifoldParameter(z.detach() / radius, manifold=geoopt.Sphere())
    theirs = geoopt.optim.RiemannianSGD([point], lr=0.05 / radius**2)
    for _ in range(10):
        target = descend(ours, z, 1)
        theirs.zero_grad()
        (radius * point - target).square().sum().backward()
        theirs.step()
    torch.testing.assert_close(z.detach(), radius * point.detach())
