"""Paired inference, against scipy, a slow Holm, and simulated reports in which no teacher differs."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gendistill.evaluation.comparison import (
    LEVEL,
    Difference,
    Sample,
    compare,
    holm,
    lead_needed,
    p_values,
    paired,
    quantile,
    welch,
)

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "false_leads.py"
spec = importlib.util.spec_from_file_location("benchmark_false_leads", PATH)
assert spec is not None and spec.loader is not None
simulated = importlib.util.module_from_spec(spec)
spec.loader.exec_module(simulated)
false_leads, power = simulated.false_leads, simulated.power


def sample(values: list[float], first: int = 0, step: float = 0.0) -> Sample:
    return Sample(tuple(values), tuple(range(first, first + len(values))), step)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_paired_is_students_t(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    ours, theirs = generator.normal(0.8, 0.05, (2, 7, seeds))
    estimate = paired(ours - theirs)
    reference = stats.ttest_rel(ours, theirs, axis=1)
    assert np.allclose(p_values(estimate), reference.pvalue, rtol=1e-10)
    low, high = reference.confidence_interval(0.95)
    reach = quantile(estimate.df) * estimate.error
    assert np.allclose(estimate.mean - reach, low) and np.allclose(estimate.mean + reach, high)


@pytest.mark.parametrize(("ours", "theirs"), [(2, 5), (5, 2), (10, 3), (4, 4)])
def test_other_seeds_are_compared_by_welch(ours: int, theirs: int) -> None:
    generator = np.random.default_rng(ours)
    left, right = generator.normal(0.8, 0.02, (6, ours)), generator.normal(0.78, 0.08, (6, theirs))
    estimate = welch(left, right)
    reference = stats.ttest_ind(left, right, axis=1, equal_var=False)
    assert np.allclose(p_values(estimate), reference.pvalue, rtol=1e-10)
    assert np.allclose(estimate.df, reference.df)


def slow_holm(p: list[float]) -> list[float]:
    """Return adjusted p-values as the textbook says it."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_the_textbooks(p: list[float]) -> None:
    adjusted, steps = holm(p)
    assert np.allclose(adjusted, slow_holm(p))
    assert ((adjusted <= LEVEL) == (np.asarray(p) <= LEVEL / steps)).all()
    decided = int((adjusted <= LEVEL).sum())
    assert steps.min() == max(1, len(p) - max(decided - 1, 0) if decided == len(p) else len(p) - decided)


def test_holm_takes_many_families_at_once() -> None:
    p = np.random.default_rng(0).uniform(size=(5, 8)) ** 4
    adjusted, _ = holm(p)
    assert np.allclose(adjusted, [slow_holm(row) for row in p.tolist()])


ACCURACIES = st.lists(st.integers(0, 20).map(lambda right: right / 20), min_size=2, max_size=6)


@given(st.lists(st.tuples(ACCURACIES, ACCURACIES), min_size=1, max_size=8), st.sampled_from([0.0, 0.05]))
@settings(max_examples=150, deadline=None)
def test_an_interval_leaves_out_zero_exactly_where_a_difference_counts(pairs: list[Any], step: float) -> None:
    found = compare({place: (sample(a, step=step), sample(b, step=step)) for place, (a, b) in enumerate(pairs)})
    assert len(found) == len(pairs)
    for (ours, theirs), one in zip(pairs, found.values(), strict=True):
        assert one.paired == (len(ours) == len(theirs)) and one.runs == (len(ours), len(theirs))
        assert 0 <= one.p <= one.adjusted <= 1 and math.isfinite(one.mean)
        assert one.mean == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-12)
        if one.low is None or one.high is None:
            assert one.error == 0 and not one.decided  # nothing tells how far to trust seeds that all agree
        else:
            assert -1 <= one.low <= one.mean <= one.high <= 1
            assert one.decided == (one.low > 0 or one.high < 0)
        assert one.ahead == (one.decided and one.mean > 0)


def test_seeds_are_matched_by_name_and_not_by_place() -> None:
    ours = Sample((0.9, 0.5, 0.7), (2, 0, 1))
    theirs = Sample((0.4, 0.6, 0.8), (0, 1, 2))
    one = compare({"a": (ours, theirs)})["a"]
    assert one.paired and one.mean == pytest.approx(0.1) and one.error == 0  # 0.1 for every seed
    for other in (Sample(theirs.values), Sample(theirs.values, (0, 1, 3)), Sample(theirs.values, (0, 0, 1))):
        assert not compare({"a": (ours, other)})["a"].paired


def test_the_same_runs_twice_do_not_differ() -> None:
    for values in ([1.0] * 10, [0.5, 0.6, 0.7]):
        for step in (0.0, 0.01):
            one = compare({"a": (sample(values, step=step), sample(values, step=step))})["a"]
            assert one.p == one.adjusted == 1 and not one.decided


def test_seeds_that_agree_give_no_endless_confidence() -> None:
    def lead(points: int, seeds: int, images: int = 400) -> Difference:
        low = 0.8
        ours, theirs = [low + points / images] * seeds, [low] * seeds
        return compare({"a": (sample(ours, step=1 / images), sample(theirs, step=1 / images))})["a"]

    # One image of 400, three times: rounding alone gives a difference a standard deviation of 0.41 images.
    assert lead(1, 3).error == pytest.approx(math.sqrt(1 / 6) / 400 / math.sqrt(3))
    assert not lead(1, 2).decided and not lead(1, 3).decided and not lead(3, 2).decided
    assert lead(40, 5).decided and lead(40, 2).p > 0.001
    # Without the number of images there is nothing to measure agreement by.
    unknown = compare({"a": (sample([0.9] * 5), sample([0.8] * 5))})["a"]
    assert unknown.p == 1 and unknown.low is None and not unknown.decided


def test_one_seed_is_never_compared() -> None:
    assert compare({"a": (sample([0.9]), sample([0.1])), "b": (sample([0.9]), sample([0.1, 0.2]))}) == {}
    assert compare({}) == {}
    # What cannot be compared is no part of the family.
    both = {"a": (sample([0.9]), sample([0.1])), "b": (sample([0.9, 0.8]), sample([0.1, 0.3]))}
    assert compare(both)["b"].adjusted == compare(both)["b"].p


def test_the_lead_that_is_needed() -> None:
    assert lead_needed(10, 32) == pytest.approx(stats.t.isf(LEVEL / 64, 9) / math.sqrt(10))
    assert lead_needed(2, 1) == pytest.approx(12.706 / math.sqrt(2), rel=1e-4)
    needed = [lead_needed(seeds, 32) for seeds in (2, 3, 5, 10)]
    assert needed == sorted(needed, reverse=True) and needed[2] > 3 > needed[3]


@pytest.mark.parametrize("noise", simulated.NOISES)
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_reports_without_a_difference_seldom_name_a_winner(noise: str, seeds: int) -> None:
    """Four teachers like real data, eight numbers of updates: a false lead in at most 5 % of reports, whatever noise.

    The test is two-sided, so that half of that is to be expected where noise is normal. 4,000 reports have a standard
    error of 0.25 points there.
    """
    for by_seed in (True, False):
        found = false_leads(noise, seeds, reports=4000, paired_by_seed=by_seed)
        assert found.leads <= 0.05
        assert found.any <= 0.06  # either direction: 5 %, and three standard errors


def test_the_rule_that_is_named_is_needed() -> None:
    """Two standard errors, without degrees of freedom and correction, name winners in most such reports."""
    assert false_leads("normal", 3, reports=500, rule="two standard errors").leads > 0.4
    assert false_leads("normal", 10, reports=500, rule="two standard errors").leads > 0.3


def test_a_true_difference_is_found_by_ten_seeds_and_not_by_three() -> None:
    """A lead of 2.5 standard deviations of the differences at one number of updates."""
    found = {seeds: power(2.5, seeds, reports=1000) for seeds in (3, 5, 10)}
    assert found[10] > 0.95 and found[3] < 0.1 < found[5] < found[10]
    # One number named beforehand: four comparisons in place of 32.
    assert power(1.5, 10, reports=1000, chosen=True) > 0.8 > power(1.5, 10, reports=1000) > 0.4


def test_the_figures_of_the_page_are_made() -> None:
    figures = simulated.measure(reports=50)
    assert set(figures["false_leads"]) == set(simulated.NOISES) and set(figures["power"]) == set(simulated.LEADS)
    assert set(figures["lead_needed"]) == set(simulated.SEEDS)
