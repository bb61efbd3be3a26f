"""Characteristic functions against complex numbers, and against what is known of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gendistill.losses.characteristic import LEAST, characteristic_distance, waves


def means(features: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Of (K, N, F): the class means (K, T) of cosines and sines."""
    cos, sin = zip(*((part.mean(0) for part in waves(some, frequencies)) for some in features), strict=True)
    return torch.stack(cos), torch.stack(sin)


def slow(real: Tensor, synthetic: Tensor, frequencies: Tensor, amplitude: float, phase: float) -> Tensor:
    """The equation with complex numbers, one class and one frequency after another."""
    total = torch.zeros((), dtype=real.dtype)
    for wanted, found in zip(real, synthetic, strict=True):
        for t in frequencies:
            a, b = (torch.stack([torch.exp(1j * (t @ z / z.norm())) for z in some]).mean() for some in (wanted, found))
            lengths = (a.abs() - b.abs()) ** 2
            angles = 2 * (a.abs() * b.abs() - (a * b.conj()).real)
            total = total + torch.sqrt(amplitude * lengths + phase * angles) / len(frequencies)
    return total


@pytest.mark.parametrize(("amplitude", "phase"), [(0.5, 0.5), (1.0, 1.0), (0.0, 1.0), (0.9, 0.1)])
def test_the_distance_is_the_equation(amplitude: float, phase: float) -> None:
    generator = torch.Generator().manual_seed(0)
    real, synthetic = (torch.randn(2, n, 5, generator=generator, dtype=torch.float64) for n in (7, 3))
    frequencies = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    found = characteristic_distance(
        means(real, frequencies), means(synthetic, frequencies), amplitude=amplitude, phase=phase
    )
    torch.testing.assert_close(found, slow(real, synthetic, frequencies, amplitude, phase), rtol=1e-9, atol=0)
    if amplitude == phase == 1.0:
        a, b = (torch.complex(*means(some, frequencies)) for some in (real, synthetic))
        torch.testing.assert_close(found, (a - b).abs().mean(1).sum())


def test_gradients_agree_with_finite_differences_in_features_and_frequencies() -> None:
    generator = torch.Generator().manual_seed(1)
    real, synthetic = (torch.randn(2, n, 4, generator=generator, dtype=torch.float64) for n in (5, 2))
    frequencies = torch.randn(6, 4, generator=generator, dtype=torch.float64)

    def distance(images: Tensor, t: Tensor) -> Tensor:
        return characteristic_distance(means(real, t), means(images, t))

    assert torch.autograd.gradcheck(distance, (synthetic.requires_grad_(), frequencies.requires_grad_()))


def test_a_set_is_nowhere_from_itself_in_any_order_and_its_gradient_is_finite() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 9, 6, generator=generator, dtype=torch.float64)
    frequencies = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    again = features[:, torch.randperm(9, generator=generator)].clone().requires_grad_()
    distance = characteristic_distance(means(features, frequencies), means(again, frequencies))
    assert float(distance.detach()) <= 2 * LEAST**0.5
    distance.backward()
    assert again.grad is not None and again.grad.isfinite().all()
    nothing = torch.zeros(1, 1, requires_grad=True)
    characteristic_distance((nothing, nothing), (nothing, nothing)).backward()
    assert nothing.grad is not None and nothing.grad.isfinite().all()


def test_its_square_is_the_maximum_mean_discrepancy_under_a_gaussian_kernel() -> None:
    """E over t of |phi_r - phi_s|^2 with t normal: E cos <t, a - b> = exp(-|a - b|^2 / 2)."""
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (6, 4))
    a, b = (some / some.norm(dim=1, keepdim=True) for some in (a, b))
    frequencies = torch.randn(400_000, 3, generator=generator, dtype=torch.float64)
    phi_a, phi_b = (torch.complex(*means(some[None], frequencies)) for some in (a, b))
    kernel = [[(-(torch.cdist(x, y) ** 2) / 2).exp().mean() for y in (a, b)] for x in (a, b)]
    expected = kernel[0][0] + kernel[1][1] - 2 * kernel[0][1]
    torch.testing.assert_close((phi_a - phi_b).abs().square().mean(), expected, rtol=0.02, atol=0)
