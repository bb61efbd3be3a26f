"""The benchmark of the public loops: they are the methods that they are named after, and every way is timed."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "public_loops.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_public_loops", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_way_is_timed(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    # Kernels are not what this test is about; what was compiled is called as it is.
    monkeypatch.setattr(torch, "compile", lambda function, **given: function)
    monkeypatch.setattr(benchmark, "own_process", lambda what, script, **given: {"mib": float(len(given))})
    small = {"classes": 2, "width": 4, "real_batch": 4, "images_per_class": 2, "student_steps": 2, "inner_steps": 2}
    figures = benchmark.measure(**small, meta_real=4, rounds=1)["methods"]
    assert set(figures) == {"dm", "dc", "dsa", "mtt", "dd"}
    for name, row in figures.items():
        assert {"as given", "float32"} <= set(row["times_as_fast_as_public"])
        assert ("bfloat16" in row["cpu_seconds"]) == (name in ("dm", "dc", "dsa"))
        assert set(row.get("mib", {})) == (set() if name == "dc" else {"public", "as given"})
    parts = figures["dc"]["parts"]
    for name in ("public", *benchmark.WAYS):
        match, epoch = (parts[part]["cpu_seconds"][name] for part in ("match", "epoch"))
        assert figures["dc"]["cpu_seconds"][name] == pytest.approx(match + 45 * epoch)
    exact = [seconds for name, seconds in figures["dc"]["cpu_seconds"].items() if name in list(benchmark.WAYS)[:2]]
    assert figures["dc"]["cpu_seconds"]["float32"] == min(exact)


@pytest.mark.parametrize("way", ["public", "as given"])
def test_memory_of_each_way_is_measured(benchmark: ModuleType, way: str) -> None:
    sizes = {"classes": 2, "width": 8, "real_batch": 64, "images_per_class": 2}
    for method in ("dm", "dsa", "mtt", "dd"):
        found = benchmark.held(method, way, student_steps=2, inner_steps=2, meta_real=64, **sizes)
        assert -5 < found["mib"] < 1000  # below 0 where what the start freed is used again


def test_the_public_student_walks_as_ours_does(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient of images in the public loop is that of the unrolled loss, for the same network and target."""
    shapes = benchmark.Shapes(2, 4, 4, 2)
    made: list[torch.Tensor] = []
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: (made.append(self.detach()), backward(self))[1])
    torch.manual_seed(0)
    benchmark.public_mtt(shapes, 2)()
    assert 0.9 < float(made[0]) < 1.1  # two small steps from where the distance is 1
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    for compiled in (False, True):
        torch.manual_seed(0)
        benchmark.our_mtt(shapes, 2, compiled)()
    assert float(made[1]) == pytest.approx(float(made[2]), rel=1e-5)
