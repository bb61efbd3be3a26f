"""The ways that the benchmark of the evaluation compares come to the same accuracies."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "ensemble_evaluation.py"
spec = importlib.util.spec_from_file_location("benchmark_ensemble_evaluation", PATH)
assert spec is not None and spec.loader is not None
benchmark = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = benchmark  # a dataclass looks for its module there
spec.loader.exec_module(benchmark)

NARROW = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}


def test_twenty_learners_at_once_are_those_one_after_another() -> None:
    case = benchmark.CASES["condensation"]
    assert (case.shape, case.learners, case.batch_size) == ((3, 32, 32), 20, 100)
    small = replace(case, shape=(3, 8, 8), updates=12, repeats=1, learner=NARROW)
    found = benchmark.measure({"condensation": small})["condensation"]
    assert set(found["seconds"]) == set(found["cpu_ratio"]) == {"at_once", "one_after_another", "as_published"}
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["largest_difference_of_accuracies"] < 0.02 and found["learners"] == 20


def test_stacked_learners_are_timed_where_they_are_asked_for() -> None:
    small = replace(benchmark.CASES["digits"], learners=2, images=128, updates=2, repeats=1, warm_up=0, learner=NARROW)
    assert "stacked" in benchmark.measure({"digits": small})["digits"]["ratio"]
