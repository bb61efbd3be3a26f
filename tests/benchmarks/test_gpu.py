"""What only a GPU can show: its smoke scale runs anywhere, and what one part does wrong stays its own."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu


def test_the_smoke_scale_runs_without_a_gpu(tmp_path: Path) -> None:
    assert gpu.main(["--scale", "smoke", "--device", "cpu", "--output", str(tmp_path)]) == 0
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(found) == set(gpu.PARTS)
    assert not any("failed" in json.dumps(part) for part in found.values()), found
    assert all(step == {"largest difference": 0.0, "of": step["of"], "waits": []} for step in found["steps"].values())
    assert all(way["steps a second"] > 0 for label in found["speed"].values() for way in label.values())
    assert all(run["same to the bit"] for run in found["resume"].values())
    assert found["nccl"] == {"gloo": {"average": True, "highest": True}}
    assert all(len(made["accuracy"]) == 1 for made in found["methods"].values())


def test_a_part_that_fails_keeps_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(given: argparse.Namespace) -> Iterator[tuple[str, Any]]:
        yield "first", 1
        raise RuntimeError("CUDA error: an illegal\n memory access")

    monkeypatch.setitem(gpu.PARTS, "steps", breaks)
    words = ["--scale", "smoke", "--device", "cpu", "--output", str(tmp_path), "--only", "steps", "nccl"]
    assert gpu.main(words) == 0
    found = json.loads((tmp_path / "steps.json").read_text())
    assert found == {"first": 1, "failed": "RuntimeError: CUDA error: an illegal memory access"}
    assert (tmp_path / "nccl.json").exists() and "illegal memory access" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "--scale smoke --device cpu" in capsys.readouterr().err


def test_shares_fill_the_time() -> None:
    assert sum(gpu.SHARES.values()) == pytest.approx(1) and set(gpu.SHARES) == set(gpu.PARTS) and gpu.SECONDS <= 540
