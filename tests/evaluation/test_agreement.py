"""Reported beside measured: the interval of one more run, and orders by the rule of comparisons."""

from __future__ import annotations

import statistics
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from gendistill.evaluation.agreement import Agreement, agreements, interval


def results(runs, said, *, fidelity=None, further=None, others=()) -> dict:
    rows = [
        {"name": "mine", "accuracy": {"runs": runs}, "fidelity": fidelity, "further": further or {}, "reported": said}
    ]
    rows += [{"name": name, "accuracy": {"runs": values}} for name, values in others]
    teacher = {"learning": {"class_sizes": [50] * 10}}
    return {"seeds": list(range(len(runs))), "replicated": rows, "teachers": [teacher] * len(rows)}


def test_the_interval_is_that_of_one_more_run() -> None:
    runs = [0.71, 0.74, 0.70, 0.75]
    found = interval(runs)
    reach = stats.t.ppf(0.975, 3) * statistics.stdev(runs) * sqrt(1 + 1 / 4)
    assert found == pytest.approx((statistics.fmean(runs) - reach, statistics.fmean(runs) + reach))
    assert interval([0.5]) is None
    # Runs that agree to the last digit prove nothing beyond rounding.
    low, high = interval([0.5, 0.5, 0.5], step=0.01)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 2) * 0.01 / sqrt(12) * sqrt(4 / 3))


def test_one_more_run_of_the_same_kind_is_outside_in_a_twentieth_of_cases() -> None:
    drawn = np.random.default_rng(0).normal(0.7, 0.03, (4000, 4))
    outside = 0
    for *runs, said in drawn.tolist():
        low, high = interval(runs)
        outside += not low <= said <= high
    assert outside / len(drawn) == pytest.approx(0.05, abs=0.012)


def test_numbers_agree_or_disagree() -> None:
    runs = [0.70, 0.72, 0.74]
    said = {"accuracy": 0.73, "fid": 14.0, "scores": {"spearman": 0.9, "absent": 1.0}}
    fidelity = {"name": "FID", "runs": [40.0, 41.0, 42.0]}
    further = {"spearman": {"runs": [0.5, None, 0.55]}}
    accuracy, fid, spearman = agreements(results(runs, said, fidelity=fidelity, further=further))
    assert accuracy.agrees is True and accuracy.what == "accuracy" and accuracy.mean == pytest.approx(0.72)
    assert fid.agrees is False and fid.what == "FID" and fid.low > 14
    assert spearman.agrees is True and spearman.mean == pytest.approx(0.525)  # of two runs: a wide interval
    # A distance of other features is no FID; nothing reported is nothing to hold against.
    assert [one.what for one in agreements(results(runs, said, fidelity=fidelity | {"name": "FD[mine]"}))] == [
        "accuracy"
    ]
    assert agreements(results(runs, None)) == []


def test_one_run_decides_nothing() -> None:
    said = {"accuracy": 0.9, "ahead": {"run": ["gan"]}}
    one, order = agreements(results([0.1], said, others=[("gan", [0.5])]))
    assert one == Agreement("accuracy", 0.9, 0.1, None, None, None)
    assert order.what == "mine ahead of gan" and order.agrees is None and order.mean is None


@pytest.mark.parametrize(("gan", "agrees"), [(0.5, True), (0.9, False), (0.72, None)])
def test_orders_are_decided_by_the_rule_of_comparisons(gan: float, agrees: bool | None) -> None:
    said = {"ahead": {"run": ["gan"], "gan": ["nobody"]}}
    others = [("gan", [gan, gan + 0.01, gan - 0.01])]
    (found,) = agreements(results([0.70, 0.74, 0.72], said, others=others))
    assert found.agrees is agrees and found.mean == pytest.approx(0.72 - gan)
