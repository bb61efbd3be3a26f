"""How often a report concludes wrongly: simulated reports whose teachers are all alike, or of which one is ahead.

The figures of docs/evaluation-comparing.md come from here; tests/evaluation/test_comparison.py holds the rule to them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gendistill.evaluation.comparison import LEVEL, Estimate, holm, lead_needed, p_values, paired, welch

Array = NDArray[np.float64]

NOISES = ("normal", "shared", "heavy", "test of 400", "saturated", "small test", "rounded")
"""What accuracies of learners may be like; see :func:`scores`."""
THREADS = 1
SEEDS = (2, 3, 5, 10)
LEADS = (1.0, 1.5, 2.0, 2.5, 3.0)
TEACHERS, COUNTS = 4, 8
ALONG = 0.6
"""Correlation of a learner's noise from one number of updates to the next."""
SHARED = 0.6
"""Share of the variance that learners of one seed have in common."""
SPREAD = 0.02
"""Standard deviation of an accuracy over seeds."""


class Errors(NamedTuple):
    """Shares of reports.

    Attributes:
        leads: In which some teacher is said to be ahead of real data.
        any: In which some difference is decided, in either direction.
    """

    leads: float
    any: float


def false_leads(
    noise: str, seeds: int, *, reports: int, paired_by_seed: bool = True, rule: str = "Holm", seed: int = 0
) -> Errors:
    """Return how many reports claim a difference where there is none.

    Args:
        noise: One of :data:`NOISES`.
        seeds: Learners of each teacher.
        reports: How many are simulated.
        paired_by_seed: Whether differences are taken seed by seed; else by Welch.
        rule: ``Holm``, or ``two standard errors``: Welch's error without its degrees of freedom or a correction.
        seed: Of the draws.
    """
    accuracies, step = scores(noise, seeds, reports, np.random.default_rng(seed))
    estimate = _estimate(accuracies, step, paired_by_seed=paired_by_seed)
    if rule == "two standard errors":
        estimate = _estimate(accuracies, 0.0, paired_by_seed=False)
        decided = np.abs(estimate.mean) > 2 * estimate.error
    else:
        decided = holm(p_values(estimate))[0] <= LEVEL
    return Errors(float((decided & (estimate.mean > 0)).any(1).mean()), float(decided.any(1).mean()))


def power(lead: float, seeds: int, *, reports: int, chosen: bool = False, seed: int = 0) -> float:
    """Return how often a true lead of one teacher at one number of updates is found.

    Args:
        lead: In standard deviations of the paired differences.
        seeds: Learners of each teacher.
        reports: How many are simulated.
        chosen: Whether that number of updates was named beforehand, so that it alone is compared.
        seed: Of the draws.
    """
    accuracies, step = scores("normal", seeds, reports, np.random.default_rng(seed))
    accuracies[:, 1, :, 0] += lead * SPREAD * np.sqrt(2)
    if chosen:
        accuracies = accuracies[..., :1]
    estimate = _estimate(accuracies, step, paired_by_seed=True)
    adjusted = holm(p_values(estimate))[0]
    return float(((adjusted[:, 0] <= LEVEL) & (estimate.mean[:, 0] > 0)).mean())


def scores(noise: str, seeds: int, reports: int, generator: np.random.Generator) -> tuple[Array, float]:
    """Draw accuracies of real data and of teachers that are like it.

    Args:
        noise: ``normal``; ``shared``: learners of one seed have 60 % of their variance in common; ``heavy``:
            Student's t with 3 degrees of freedom; ``test of 400``: shared noise around 97 %, counted on 400 images;
            ``saturated``: every one of 400 images right with 99.8 %; ``small test``: every one of 20 images right with
            95 %; ``rounded``: noise far below the step of 20 images. Normal and shared noise, and what is counted or
            rounded around it, goes on from one number of updates to the next.
        seeds: Learners of each teacher.
        reports: How many reports.
        generator: Draws.

    Returns:
        (reports, 1 + teachers, seeds, numbers of updates), the first of the teachers real data, and the step of two
        accuracies that can be told apart, 0 where they are not counted.
    """
    shape = (reports, 1 + TEACHERS, seeds, COUNTS)
    if noise == "normal":
        return SPREAD * _along(shape, generator), 0.0
    if noise == "heavy":
        return SPREAD * generator.standard_t(3, shape), 0.0
    if noise == "saturated":
        return generator.binomial(400, 0.998, shape) / 400, 1 / 400
    if noise == "small test":
        return generator.binomial(20, 0.95, shape) / 20, 1 / 20
    if noise == "rounded":
        centre = 0.8 + generator.uniform(0, 0.05, (reports, 1, 1, COUNTS))
        return np.round((centre + 0.005 * _along(shape, generator)) * 20) / 20, 1 / 20
    common = np.sqrt(SHARED) * _along((reports, 1, seeds, COUNTS), generator)
    both = SPREAD * (common + np.sqrt(1 - SHARED) * _along(shape, generator))
    if noise == "shared":
        return both, 0.0
    return generator.binomial(400, np.clip(0.97 + both, 0, 1)) / 400, 1 / 400


def _along(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Draw standard normal noise that goes on along the last axis: AR(1)."""
    noise = generator.standard_normal(shape)
    for place in range(1, shape[-1]):
        noise[..., place] = ALONG * noise[..., place - 1] + np.sqrt(1 - ALONG**2) * noise[..., place]
    return noise


def _estimate(accuracies: Array, step: float, *, paired_by_seed: bool) -> Estimate:
    """Hold every teacher against real data at every number of updates: arrays (reports, teachers * numbers)."""
    ours, real = np.moveaxis(accuracies[:, 1:], 2, -1), np.moveaxis(accuracies[:, :1], 2, -1)
    real = np.broadcast_to(real, ours.shape)
    found = paired(ours - real, step) if paired_by_seed else welch(ours, real, step)
    return Estimate(*(part.reshape(len(accuracies), -1) for part in found))


def measure(reports: int = 20_000) -> dict[str, Any]:
    """Simulate all kinds of reports.

    Args:
        reports: Of each kind.

    Returns:
        Shares of reports, by noise and seeds: ``false_leads`` with differences taken seed by seed, ``welch``, and
        ``two_standard_errors``; ``power`` by lead and seeds, and ``power_at_one_chosen``; ``lead_needed`` by seeds.
    """

    def by_noise(**options: Any) -> dict[str, dict[int, float]]:
        return {
            noise: {one: false_leads(noise, one, reports=reports, **options).leads for one in SEEDS} for noise in NOISES
        }

    def by_lead(*, chosen: bool) -> dict[float, dict[int, float]]:
        return {lead: {one: power(lead, one, reports=reports, chosen=chosen) for one in SEEDS} for lead in LEADS}

    return {
        "reports": reports,
        "teachers": TEACHERS,
        "numbers_of_updates": COUNTS,
        "false_leads": by_noise(),
        "welch": by_noise(paired_by_seed=False),
        "two_standard_errors": by_noise(rule="two standard errors"),
        "power": by_lead(chosen=False),
        "power_at_one_chosen": by_lead(chosen=True),
        "lead_needed": {one: lead_needed(one, TEACHERS * COUNTS) for one in SEEDS},
    }
