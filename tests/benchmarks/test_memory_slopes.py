"""The benchmark of peak memory measures each method both ways, and its slopes are those of straight lines."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from trainers import chunks

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "memory_slopes.py"
spec = importlib.util.spec_from_file_location("benchmark_memory_slopes", PATH)
assert spec is not None and spec.loader is not None
memory_slopes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory_slopes)


def small(sweep: Any) -> Any:
    method, varied, rest, _, both = sweep
    rest = {**memory_slopes.SMALLEST[method], **rest, **({"side": 8} if "side" in rest else {})}
    rest.pop(varied)
    return method, varied, rest, (2, 3), both


def test_every_sweep_is_measured_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def here(what: str, *, script: Path, threads: int = 1, **given: Any) -> dict[str, float]:
        assert script == PATH
        monkeypatch.setattr(chunks, "KEPT", 256)
        seen.append(given)
        found: dict[str, float] = memory_slopes.OF_THEIR_OWN[what](warm=False, **given)
        assert found["peak_mib"] > 50 and found["cpu_seconds"] > 0
        varied = next(given[name] for name in ("steps", "snapshots", "batches", "images") if name in given)
        return found | {"working_mib": 5.0 + 2.0 * varied}

    monkeypatch.setattr(memory_slopes, "own_process", here)
    sweeps = {name: small(sweep) for name, sweep in memory_slopes.SWEEPS.items() if "classes" not in name}
    sweeps["classes"] = small(memory_slopes.SWEEPS["dsa, classes"])
    target = {"kind": "dsa", "classes": 2, "images": 1, "side": 8, "width": 2}
    found = memory_slopes.measure(sweeps, target)
    assert set(found["sweeps"]) == set(sweeps) and found["target"]["working_mib"] == 7.0
    for name, ways in found["sweeps"].items():
        assert set(ways) == ({"ours", "whole"} if sweeps[name][4] else {"ours"})
        for one in ways.values():
            assert list(one["points"]) == ["2", "3"]
            assert one["mib_for_one_more"] == pytest.approx(0.0 if name == "classes" else 2.0)
    assert {given["whole"] for given in seen} == {False, True}


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    points = {str(x): {"working_mib": 3.0 + 0.25 * x} for x in (10, 50, 200)}
    assert memory_slopes.slope(points) == pytest.approx(0.25)


def test_a_point_is_measured_in_a_process_of_its_own() -> None:
    given = {"method": "unrolled", "kind": "dd", "steps": 1, "width": 2, "whole": False, "warm": False}
    found = memory_slopes.own_process("point", script=PATH, threads=1, **given)
    assert found["peak_mib"] > 50 and found["working_mib"] > 0
