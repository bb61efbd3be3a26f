"""The benchmarks of fidelity at small size: both sides give the same, and what should be zero is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def benchmark(name: str) -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("width", [6, 80])
def test_one_pass_gives_what_the_separate_ones_gave(width: int) -> None:
    (figures,) = benchmark("image_pairs").measure(points=[(60, width)]).values()
    assert figures["kid_apart"] < 1e-9 and figures["scores_apart"] < 1e-12
    assert min(figures["cpu_seconds"].values()) >= 0


def test_stratified_kid_of_balanced_draws_is_zero_and_the_usual_one_is_not() -> None:
    figures = benchmark("kid_of_balanced_draws").measure((40,), repetitions=30, features="pixels", images=400)
    assert len(figures) == 5
    for name, one in figures.items():
        assert abs(one["stratified"]["mean"]) < 3.5 * one["stratified"]["error"], name
    independent, balanced = list(figures.values())[:2]
    assert abs(independent["usual"]["mean"]) < 3.5 * independent["usual"]["error"]
    assert balanced["usual"]["mean"] < -5 * balanced["usual"]["error"]
    assert figures["one image a class against the others"]["stratified"]["given_std"] is None


def test_intervals_of_rankings_hold_the_truth_about_as_often_as_they_say() -> None:
    figures = benchmark("ranking_intervals").measure((20,), (0.5,), repetitions=60, resamples=200)
    ((name, held),) = figures["held"].items()
    assert name == "20 architectures, Spearman 0.48"
    assert all(0.85 <= share <= 1 for share in held.values())
