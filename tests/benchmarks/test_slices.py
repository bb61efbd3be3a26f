"""The benchmark of slices measures four pairs, whose gradients are the same to the bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "slices.py"
spec = importlib.util.spec_from_file_location("benchmark_slices", PATH)
assert spec is not None and spec.loader is not None
slices = importlib.util.module_from_spec(spec)
spec.loader.exec_module(slices)


def test_both_ways_are_timed() -> None:
    found = slices.measure(slices.SMALL, rounds=1)
    for name in slices.PAIRS:
        times = found[name]["seconds"]
        assert set(times) == {"ours", "slices"}
        assert found[name]["times_faster"]["seconds"] == times["slices"]["seconds"] / times["ours"]["seconds"] > 0


def test_ways_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = slices.groups

    def wrong(root: str, **setting: int) -> dict[str, Any]:
        steps = right(root, **setting)
        return steps | {"slices": lambda: steps["slices"]() + 1e-6}

    monkeypatch.setitem(slices.PAIRS, "groups", wrong)
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match="groups: the gradients differ"):
        slices.measure(slices.SMALL)


def test_a_way_back_is_linear_in_the_classes() -> None:
    # Counted and not timed: the largest tensor that a way back writes is a class's, not all classes'.
    for name, way in slices.groups("", classes=6, images=2, side=4).items():
        with torch.profiler.profile(record_shapes=True) as profile:
            way()
        written = [event.input_shapes for event in profile.events() if event.name == "SliceBackward0"]
        assert len(written) == (6 if name == "slices" else 0)
