"""Commands that keep parts, interrupted at random moments, end as they do when they are left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kills import JOBS, Ended, differing, faults, found

ROOT = Path(__file__).resolve().parents[2]
COUNT = 2
TRIED = [job for job in JOBS if job not in ("train condensation", "train gtn", "verify")]
"""The others take the same ways; the script tries them."""


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One process for all commands: each interrupted twice, then given again."""
    words = ["--count", str(COUNT), "--seed", "2", "--jobs", ",".join(TRIED)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path_factory.mktemp("kills"))}
    script = str(ROOT / "benchmarks" / "kills.py")
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, env=environment)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {line["job"] for line in lines} == set(TRIED), done.stderr[-2000:]
    return {line["job"]: line for line in lines}


@pytest.mark.parametrize("job", TRIED)
def test_an_interrupted_command_given_again_ends_as_one_that_was_left_alone(
    job: str, trials: dict[str, dict[str, Any]]
) -> None:
    assert trials[job]["faults"] == [] and len(trials[job]["signals"]) == COUNT


def test_some_were_interrupted_before_their_end(trials: dict[str, dict[str, Any]]) -> None:
    codes = [code for line in trials.values() for _, _, code in line["signals"]]
    assert sum(code != 0 for code in codes) >= len(codes) // 4
    assert any(code == -9 for code in codes) and any(code in (130, 143) for code in codes)


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    for name, accuracy in (("one", 0.5), ("other", 0.25)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_text(json.dumps({"accuracy": accuracy, "seconds": accuracy}))
    one, other = found(tmp_path / "one"), found(tmp_path / "other")
    assert one and differing(one, other) == ["x.json"] and differing(one, {}) == ["x.json"]
    (tmp_path / "other" / "x.json").write_text(json.dumps({"accuracy": 0.5, "seconds": 3.0}))
    assert differing(one, found(tmp_path / "other")) == []


@pytest.mark.parametrize(
    ("ended", "number", "said"),
    [
        (Ended(143, "error: interrupted; give it again\n", 1.0), 15, []),
        (Ended(-9, "", 1.0), 9, []),
        (Ended(0, "", 1.0), 15, []),
        (Ended(1, "", 1.0), 15, ["exit code 1 after signal 15"]),
        (Ended(-15, "", 1.0), 15, []),  # before it listened
        (Ended(130, "", 1.0), 2, ["0 sentences: []"]),
        (Ended(130, "error: a\nerror: b\n", 1.0), 2, ["2 sentences: ['error: a', 'error: b']"]),
        (Ended(0, "Traceback (most recent call last)", 1.0), 9, ["a traceback: Traceback (most recent call last)"]),
    ],
)
def test_what_counts_as_a_fault(ended: Ended, number: int, said: list[str]) -> None:
    assert faults(ended, number) == said
