"""The benchmark of unrolled steps measures both modes of both methods, each in a process of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "unroll_memory.py"
spec = importlib.util.spec_from_file_location("benchmark_unroll_memory", PATH)
assert spec is not None and spec.loader is not None
unroll_memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(unroll_memory)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which is quicker, with memory that grows in the full mode only."""

    def own_process(what: str, *, script: Path, threads: int, **given: Any) -> dict[str, float]:
        assert script == PATH
        found: dict[str, float] = unroll_memory.OF_THEIR_OWN[what](**given)
        return found | {"peak_mib": 100.0 + (given["steps"] if given["memory"] == "full" else 0)}

    monkeypatch.setattr(unroll_memory, "own_process", own_process)


def test_modes_agree_and_are_measured(here: None) -> None:
    found = unroll_memory.measure(lengths=(1, 3), rounds=2, small=True)
    for method in unroll_memory.METHODS:
        assert list(found[method]["by_steps"]) == ["1", "3"]
        for one in found[method]["by_steps"].values():
            assert one["relative_distance_of_gradients"] < 1e-4
            assert one["recompute_part_of_seconds"] == one["recompute"]["seconds"] / one["full"]["seconds"] > 0
        assert found[method]["growth"]["full"] == {"mib_a_step": 1.0, "last_over_first_peak": 103 / 101}
        assert found[method]["growth"]["recompute"]["mib_a_step"] == 0.0


def test_a_wrong_gradient_is_refused(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda value, path: save(value * (1 + path.endswith("full")), path))
    with pytest.raises(AssertionError, match="apart"):
        unroll_memory.by_steps("dd", (1,), 1, small=True)


def test_a_point_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "gradient"
    given = {"method": "dd", "steps": 2, "memory": "recompute", "gradient": str(file), "small": True}
    found = unroll_memory.own_process("point", script=PATH, threads=1, **given)
    assert found["peak_mib"] > 50 and found["beyond_start_mib"] >= 0 and found["cpu_seconds"] > 0
    assert torch.load(file, weights_only=True).shape == (2, 10, 1, 28, 28)
