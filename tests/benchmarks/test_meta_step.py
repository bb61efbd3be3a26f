"""The ways that the benchmark of the meta-step compares do the same work."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill import unroll

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "meta_step.py"
spec = importlib.util.spec_from_file_location("benchmark_meta_step", PATH)
assert spec is not None and spec.loader is not None
meta_step = importlib.util.module_from_spec(spec)
spec.loader.exec_module(meta_step)

TINY: dict[str, Any] = {"steps": 2, "batch": 4}


def flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def test_all_ways_have_one_gradient() -> None:
    problem = meta_step.MetaStep(**TINY)
    expected = flat(problem.way("full", 2)())
    names = [*unroll.MEMORY_MODES, "full, together", "recompute, together"]
    assert expected.norm() > 1e-4
    for name in names + (["higher"] if meta_step.higher_module() is not None else []):
        found = flat(problem.way(name, 2)())
        assert (found - expected).norm() < 1e-3 * expected.norm(), name
    # Not that of another problem: learners differ, and so do their gradients.
    assert (flat(problem.way("full", 1)()) - expected).norm() > 1e-2 * expected.norm()


def test_it_goes_together_with_higher() -> None:
    pytest.importorskip("higher")
    assert 0 < float(meta_step.agreement(**TINY)) < 1e-3


@pytest.mark.parametrize("there", [True, False])
def test_the_whole_measurement(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if there:
        pytest.importorskip("higher")
    else:
        monkeypatch.setattr(meta_step, "higher_module", lambda: None)

    def own_process(what: str, processes: int = 0, **given: Any) -> dict[str, float]:
        if what == "split":
            return {"seconds": 4.0 / processes, "gradient_norm": 1.0}
        return {"peak_mib": 500.0, "beyond_start_mib": {"recompute": 10.0, "sqrt": 40.0}.get(given["way"], 80.0)}

    monkeypatch.setattr(meta_step, "own_process", own_process)
    found = meta_step.measure(**TINY, learners=2, rounds=1, lengths=(1, 2), short=1)
    assert found["by_processes"]["times_as_fast"] == 2.0
    assert list(found["by_steps"]) == ["1", "2"]
    assert found["by_steps"]["2"]["recompute_memory"]["beyond_start_mib"] == 10.0
    assert all(seconds > 0 for times in found["seconds_a_learner"].values() for seconds in times.values())
    ratios = found["against_higher"]
    if not there:
        assert ratios == meta_step.MISSING == found["relative_distance_from_higher"]
        return
    assert ratios["recompute_memory"] == 0.125 and ratios["full_memory"] == 1.0
    seconds = found["seconds_a_learner"]
    assert ratios["full_2_learners_times_as_fast"] == pytest.approx(
        seconds["higher; learners: 1"]["seconds"] / seconds["full; learners: 2"]["seconds"]
    )


def test_memory_is_that_of_a_process_of_its_own() -> None:
    found = meta_step.own_process("peak", way="recompute", **TINY)
    assert 50 < found["beyond_start_mib"] + 50 < found["peak_mib"]
    with pytest.raises(RuntimeError, match="failed"):
        meta_step.own_process("peak", way="nothing", **TINY)
