"""The benchmark of kept memory measures both ways, each in a process of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "kept_memory.py"
spec = importlib.util.spec_from_file_location("benchmark_kept_memory", PATH)
assert spec is not None and spec.loader is not None
kept_memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kept_memory)


def test_both_ways_are_measured_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def own_process(what: str, *, script: Path, threads: int, keep: bool, **given: Any) -> dict[str, float]:
        assert script == PATH
        asked.append(keep)
        found: dict[str, float] = kept_memory.OF_THEIR_OWN[what](keep=False, **given)
        return found | ({"seconds": 1.0} if keep else {"seconds": 2.0})

    monkeypatch.setattr(kept_memory, "own_process", own_process)
    found = kept_memory.measure(points=[(2, 4)], rounds=2, steps=2)["steps_of_training"]["width 2, batch 4"]
    assert asked == [True, False, True, False]
    assert found["times_as_fast"]["seconds"] == 2.0
    assert found["kept"]["peak_mib"] > 0 and found["given_back"]["cpu_seconds"] > 0


def test_memory_that_cannot_be_kept_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_memory, "keep_freed_memory", lambda: False)
    with pytest.raises(RuntimeError, match="glibc"):
        kept_memory.point(2, 4, keep=True, steps=1)
