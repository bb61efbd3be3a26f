"""The accountant against published and independently computed values, and what must hold of any accountant."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.errors import UserError
from gendistill.privacy.accountant import (
    ANALYTIC,
    Call,
    epsilon_of,
    gaussian_delta,
    gaussian_epsilon,
    name_of,
    noise_for,
)


@pytest.mark.parametrize(("epsilon", "noise"), [(1.0, 3.7306), (10.0, 0.4999), (0.2, 16.30)])
def test_the_noise_of_one_sum_of_all_records(epsilon: float, noise: float) -> None:
    assert noise_for(epsilon, 1e-5, 1) == pytest.approx(noise, rel=3e-4)
    assert gaussian_epsilon(1 / noise, 1e-5) == pytest.approx(epsilon, rel=1e-3)


def test_sums_of_all_records_compose_exactly() -> None:
    assert noise_for(1.0, 1e-5, 100) == pytest.approx(10 * noise_for(1.0, 1e-5, 1), rel=1e-7)
    many, one = [Call(30.0, 1.0, 40), Call(20.0, 1.0, 9)], math.sqrt(40 / 900 + 9 / 400)
    assert epsilon_of(many, 1e-5) == pytest.approx(gaussian_epsilon(one, 1e-5))
    assert name_of(many) == ANALYTIC and name_of([Call(1.0, 0.1)]) == "rdp"


def test_delta_is_the_integral_of_the_densities() -> None:
    """delta(e) = integral of max(p - exp(e) q, 0) for N(mu, 1) and N(0, 1): theorem 5 of Balle and Wang."""
    import numpy as np

    x = np.linspace(-30, 30, 2_000_001)
    for mu, epsilon in ((0.3, 0.5), (1.0, 1.0), (2.5, 4.0)):
        p, q = (np.exp(-((x - at) ** 2) / 2) / math.sqrt(2 * math.pi) for at in (mu, 0.0))
        integral = np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0.0), x)
        assert gaussian_delta(epsilon, mu) == pytest.approx(float(integral), rel=1e-6)


@pytest.mark.parametrize(
    ("rate", "times", "noise", "delta", "epsilon"),
    [
        (256 / 60000, 10_000, 1.879, 1e-5, 1.00),
        (256 / 60000, 100_000, 0.972, 1e-5, 10.0),
        (0.01, 10_000, 4.2969, 5e-6, 0.994),
        (50 / 5421, 10_000, 1.0, 1e-5, 6.16),
        (50 / 5421, 50, 1.0, 1e-5, 1.11),
    ],
)
def test_sums_of_samples_cost_what_others_computed(
    rate: float, times: int, noise: float, delta: float, epsilon: float
) -> None:
    """Values by Renyi divergences of whole orders; Opacus' further orders can only be closer."""
    found = epsilon_of([Call(noise, rate, times)], delta)
    assert 0.98 * epsilon < found < 1.005 * epsilon


def test_privacy_loss_distributions_are_closer_than_divergences() -> None:
    calls = [Call(1.1, 0.1, 100)]
    assert epsilon_of(calls, 1e-5) == pytest.approx(6.6137, abs=1e-3)
    assert epsilon_of(calls, 1e-5, "prv") == pytest.approx(5.9230, abs=1e-3)


def test_a_sampled_sum_costs_at_least_what_the_exact_formula_says_at_rate_one() -> None:
    """Renyi divergences bound the exact value from above, also where both apply."""
    nearly = epsilon_of([Call(5.0, 1 - 1e-12, 10)], 1e-5)
    exact = epsilon_of([Call(5.0, 1.0, 10)], 1e-5)
    assert exact < nearly < 1.3 * exact


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 50), st.integers(1, 500), st.floats(1.01, 3), st.sampled_from([1.0, 0.02]))
def test_more_sums_and_less_noise_cost_more(noise: float, times: int, factor: float, rate: float) -> None:
    found = epsilon_of([Call(noise, rate, times)], 1e-5)
    assert epsilon_of([Call(noise, rate, 2 * times)], 1e-5) >= found
    assert epsilon_of([Call(noise * factor, rate, times)], 1e-5) <= found
    assert epsilon_of([Call(noise, rate, times), Call(noise, rate, times)], 1e-5) == pytest.approx(
        epsilon_of([Call(noise, rate, 2 * times)], 1e-5), rel=1e-9
    )


@pytest.mark.parametrize(("times", "rate"), [(1, 1.0), (300, 0.01)])
def test_the_noise_found_is_enough_and_hardly_more(times: int, rate: float) -> None:
    noise = noise_for(2.0, 1e-5, times, rate)
    assert epsilon_of([Call(noise, rate, times)], 1e-5) <= 2.0 < epsilon_of([Call(noise * 0.999, rate, times)], 1e-5)


def test_without_noise_the_cost_has_no_bound() -> None:
    assert epsilon_of([Call(0.0)], 1e-5) == math.inf
    assert epsilon_of([], 1e-5) == 0.0


def test_an_unknown_accountant_is_refused() -> None:
    with pytest.raises(UserError, match="choose one of: rdp, prv"):
        epsilon_of([Call(1.0, 0.5)], 1e-5, "moments")
