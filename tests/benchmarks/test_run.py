"""The runner of the benchmarks, on a benchmark that takes no time."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

RUNNER = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"
TINY = """
from __future__ import annotations

from dataclasses import dataclass

import torch
THREADS = 1000

@dataclass
class Ratio:
    value: float = 2.5

def measure():
    return {"ratio": Ratio().value, "torch_threads": torch.get_num_threads()}
"""


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The runner, looking for benchmarks in a folder that holds one, ``tiny``."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("benchmark_runner", RUNNER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "tiny.py").write_text(TINY)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    return module


def test_it_writes_figures_and_machine_as_json(runner: ModuleType, tmp_path: Path, capsys) -> None:
    before = torch.get_num_threads()
    assert runner.main(["tiny", "--output", str(tmp_path / "made" / "results")]) == 0
    written = json.loads((tmp_path / "made" / "results" / "tiny.json").read_text())
    assert (written["benchmark"], written["figures"]) == ("tiny", {"ratio": 2.5, "torch_threads": 2})
    assert written["machine"]["threads"] == written["machine"]["cores"] == 2
    assert written["machine"]["torch"] == torch.__version__ and written["seconds"] >= 0
    assert torch.get_num_threads() == before
    assert '"ratio": 2.5' in capsys.readouterr().out


def test_without_names_it_runs_all_into_the_folder_of_results(runner: ModuleType, tmp_path: Path) -> None:
    assert runner.main([]) == 0
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["tiny.json"]


def test_an_unknown_name_is_one_sentence_and_nothing_runs(runner: ModuleType, tmp_path: Path, capsys) -> None:
    assert runner.main(["tiny", "huge"]) == 2
    assert capsys.readouterr().err == "there is no benchmark 'huge'; there are: tiny\n"
    assert not (tmp_path / "results").exists()


def test_every_benchmark_says_its_threads() -> None:
    # What others measure on; programs of their own, some of which make tables or a figure and are no matter of speed.
    others = {RUNNER.name, "__init__.py", "stand_in.py", "gpu.py", "stores.py"}
    others |= {"audit_everything.py", "mggan_intervals.py", "privacy_gan.py", "private_classifier.py"}
    others |= {"gallery.py", "private_utility.py", "time_to_accuracy.py"}
    benchmarks = [path for path in RUNNER.parent.glob("*.py") if path.name not in others]
    assert len(benchmarks) >= 4
    for path in benchmarks:
        source = path.read_text()
        assert "\nTHREADS = " in source and "\ndef measure(" in source, path.name
