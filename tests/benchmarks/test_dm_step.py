"""The benchmark of distribution matching: both sides make the same step, and every way is timed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "dm_step.py"


def test_ways_agree_and_are_timed() -> None:
    spec = importlib.util.spec_from_file_location("benchmark_dm_step", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ways = ("chunks", "chunks, channels last")
    figures = module.measure(width=4, real_batch=8, rounds=1, ways=ways)
    assert figures["relative_distance_of_gradients"] < 1e-4
    assert tuple(figures["times_faster"]) == ways and set(figures["seconds_a_step"]) == {"obvious", *ways}
    assert all(one["cpu_seconds"] > 0 for one in figures["seconds_a_step"].values())
