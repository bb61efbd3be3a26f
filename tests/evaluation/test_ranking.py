"""Rank correlations and their intervals against closed forms, scipy and real resamples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gendistill.errors import UserError
from gendistill.evaluation.ranking import (
    SUBSETS,
    best_found,
    kendall,
    kendall_of_resamples,
    ranking,
    resample_weights,
    spearman,
    spearman_of_resamples,
    upper_half,
)


def named(values) -> dict[str, float]:  # type: ignore[no-untyped-def]
    return {f"a{place}": float(value) for place, value in enumerate(values)}


def test_correlations_are_the_closed_forms() -> None:
    """Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)), and (concordant - discordant) / (n (n - 1) / 2)."""
    x, y = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5])
    assert spearman(x, y) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert kendall(x, y) == pytest.approx((8 - 2) / 10)
    assert spearman(x, -y) == pytest.approx(-0.8)


def test_tau_b_with_ties_is_its_definition() -> None:
    x, y = np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 2, 3])
    # pairs: 6; tied in x: 1, in y: 1; of the other 4 all agree
    assert kendall(x, y) == pytest.approx(4 / (5 * 5) ** 0.5)


def test_correlations_of_constants_are_undefined() -> None:
    assert spearman(np.ones(4), np.arange(4.0)) is None
    assert kendall(np.arange(4.0), np.ones(4)) is None
    result = ranking(named([1, 1, 1, 1]), named([1, 2, 3, 4]), resamples=10)
    assert result["all"]["spearman"] == {"value": None, "low": None, "high": None}


def test_resamples_counted_are_resamples_drawn() -> None:
    """The matrix form must equal scipy on the items themselves, repeated as often as drawn; with ties."""
    generator = np.random.default_rng(3)
    x, y = generator.integers(0, 8, 12).astype(float), generator.normal(size=12)
    weights = resample_weights(12, 40, seed=0)
    assert (weights.sum(1) == 12).all()
    drawn = [np.repeat(np.arange(12), row.astype(int)) for row in weights]
    expected = [stats.spearmanr(x[index], y[index]).statistic for index in drawn]
    np.testing.assert_allclose(spearman_of_resamples(x, y, weights), expected, atol=1e-12)
    expected = [stats.kendalltau(x[index], y[index]).statistic for index in drawn]
    np.testing.assert_allclose(kendall_of_resamples(x, y, weights), expected, atol=1e-12)


def test_a_resample_of_one_item_is_undefined() -> None:
    weights = np.array([[3.0, 0, 0], [1, 1, 1]])
    for correlations in (spearman_of_resamples, kendall_of_resamples):
        value = correlations(np.arange(3.0), np.arange(3.0), weights)
        assert np.isnan(value[0]) and value[1] == pytest.approx(1)


def test_the_interval_covers_the_true_correlation_as_often_as_it_says() -> None:
    """Normal pairs of correlation r have Spearman's 6 / pi asin(r / 2); 80 draws of a 90 % interval."""
    r, covered = 0.7, 0
    true = 6 / np.pi * np.arcsin(r / 2)
    generator = np.random.default_rng(0)
    for seed in range(80):
        x = generator.normal(size=60)
        y = r * x + (1 - r**2) ** 0.5 * generator.normal(size=60)
        found = ranking(named(x), named(y), resamples=200, confidence=0.9, seed=seed)["all"]["spearman"]
        covered += found["low"] <= true <= found["high"]
    assert 0.8 * 80 < covered < 0.98 * 80


def test_halves_are_by_score_and_by_truth() -> None:
    score, truth = np.array([5.0, 4, 3, 2, 1]), np.array([0.1, 0.5, 0.3, 0.9, 0.7])
    assert upper_half(score).tolist() == [0, 1, 2]
    assert upper_half(truth).tolist() == [1, 3, 4]
    result = ranking(named(score), named(truth), resamples=10)
    assert [result[subset]["architectures"] for subset in SUBSETS] == [5, 3, 3]
    assert result["top_half_by_score"]["spearman"]["value"] == pytest.approx(-0.5)
    assert result["top_half_by_truth"]["spearman"]["value"] == pytest.approx(-0.5)
    assert result["all"]["spearman"]["value"] == pytest.approx(-0.8)


def test_what_a_search_finds() -> None:
    score = np.arange(20.0)[::-1]
    truth = np.array([0.2, 0.9, *[0.1] * 17, 0.95])
    found = best_found(score, truth)
    assert found["top_1"] == 0.2
    assert found["top_5"] == found["top_10_percent"] == 0.9
    assert found["top_10_percent_mean"] == pytest.approx(0.55)
    assert found["best"] == 0.95
    assert found["mean"] == pytest.approx(truth.mean())


def test_a_diverged_score_is_the_worst_and_strangers_are_left_out() -> None:
    truth = named([0.1, 0.2, 0.3])
    result = ranking(named([float("nan"), 0.5, 0.6]) | {"stranger": 1.0}, truth, resamples=10)
    assert result["architectures"] == 3
    assert result["all"]["spearman"]["value"] == 1.0


def test_few_architectures_have_a_value_and_no_interval() -> None:
    nine, ten = (ranking(named(range(count)), named(range(count)), resamples=50)["all"] for count in (9, 10))
    assert nine["kendall"] == {"value": pytest.approx(1), "low": None, "high": None}
    assert ten["kendall"]["low"] == pytest.approx(1)
    few = ranking(named(range(5)), named(range(5)), resamples=50, fewest=5)
    assert few["all"]["spearman"]["low"] == pytest.approx(1) and few["top_half_by_truth"]["spearman"]["low"] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_truth_that_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(UserError, match="true accuracy of 'a1' is"):
        ranking(named([1, 2, 3]), named([0.1, value, 0.3]))


def test_the_seed_gives_the_interval() -> None:
    values = named(np.random.default_rng(0).normal(size=20)), named(np.random.default_rng(1).normal(size=20))
    assert ranking(*values, seed=1) == ranking(*values, seed=1) != ranking(*values, seed=2)


def test_too_few_is_one_sentence() -> None:
    with pytest.raises(UserError, match="2 architectures have both"):
        ranking(named([1, 2]), named([1, 2]))
    with pytest.raises(UserError, match="confidence is 1.5"):
        ranking(named([1, 2, 3]), named([1, 2, 3]), confidence=1.5)
