"""Noise: its variance, its independence, and that it comes from nowhere in the run."""

from __future__ import annotations

import random

import numpy as np
import torch
from scipy import stats

from gendistill.privacy import noise
from gendistill.privacy.noise import system_choice, system_normal


def test_it_is_standard_normal() -> None:
    drawn = system_normal(1_000_000)
    assert abs(float(drawn.mean())) < 5e-3 and abs(float(drawn.var()) - 1) < 0.01
    assert stats.kstest(drawn[:100_000].numpy(), "norm").pvalue > 1e-6
    neighbours = np.corrcoef(drawn[:-1].numpy(), drawn[1:].numpy())[0, 1]
    halves = np.corrcoef(drawn[:500_000].numpy(), drawn[500_000:].numpy())[0, 1]
    assert abs(neighbours) < 5e-3 and abs(halves) < 7e-3


def test_two_draws_have_nothing_in_common_whatever_was_seeded() -> None:
    pairs = []
    for _ in range(2):
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)
        pairs.append(system_normal(100_000).numpy())
    assert not np.array_equal(*pairs) and abs(np.corrcoef(*pairs)[0, 1]) < 5 / 100_000**0.5


def test_no_generator_moves() -> None:
    before = torch.get_rng_state(), np.random.get_state()[2], random.getstate()
    system_normal(1000)
    system_choice(1000, 0.5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1], before[2]) == (np.random.get_state()[2], random.getstate())


def test_a_long_draw_is_made_of_several(monkeypatch: object) -> None:
    noise_at_once = noise.AT_ONCE
    try:
        noise.AT_ONCE = 7
        drawn = system_normal(24)
    finally:
        noise.AT_ONCE = noise_at_once
    assert drawn.shape == (24,) and len(set(drawn.tolist())) == 24


def test_a_sample_takes_each_record_on_its_own() -> None:
    """Bernoulli: each index is as frequent as the rate says, and sizes vary as those of independent tosses."""
    draws = torch.stack([system_choice(50, 0.1) for _ in range(10_000)])
    frequency = draws.sum(0).numpy()
    assert (
        stats.chisquare(np.stack([frequency, 10_000 - frequency], 1), [[1000, 9000]] * 50, axis=1).pvalue.min() > 1e-7
    )
    sizes = draws.sum(1).double()
    assert abs(float(sizes.var()) - 50 * 0.1 * 0.9) < 0.5 and int(sizes.min()) == 0
    assert bool(system_choice(5, 1.0).all())
