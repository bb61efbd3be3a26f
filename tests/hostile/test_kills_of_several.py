"""Of several processes that train one model one dies, fails, hangs, or is given something else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.kills import found

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
SHORT = r"error: process \d stops (because process \d did; its message says why|for the same reason as another)\n"
KEPT = r"the last good state is kept in 'runs/[\w-]+' \(step 4\)"
AGAIN = "give the same command again to continue"
SAID = {
    "killed": rf"process 1 has ended without a word in step 5 of 8, killed or out of memory; {KEPT}; {AGAIN}",
    "first killed": rf"process 0 has ended without a word in step 5 of 8, killed or out of memory; {KEPT}; {AGAIN}",
    "killed before a save": r"process 1 has ended .* in step 1 of 8, .*; no state was saved before it; give .* anew",
    "error": rf"process 1 failed in step 5 of 8 with RuntimeError: a bug .*failure-1.txt'; {KEPT}; {AGAIN}",
    "error in both": rf"process \d failed in step 5 of 8 with RuntimeError: .*; {KEPT}; {AGAIN}",
    "memory": rf"process 1: memory ran out in step 5 of 8; {KEPT}; a smaller batch.* need less",
    "left": rf"process 1 left in step 5 of 8 \(sys.exit, code 0\); {KEPT}; {AGAIN}",
    "nan": rf"'loss/distribution' became NaN or infinite at step 5 in process 1; {KEPT}: try a lower learning rate .*",
    "hangs": rf"process 1 hangs in step 5 of 8: the others waited 20 seconds for it \(run.timeout\); {KEPT}; {AGAIN}",
    "launcher": rf"interrupted after step 5 of 8; {AGAIN} \(saved in 'runs/launcher'\)",
    "other config": r"process 1 was given something else than process 0: run.seed \(1, not 0\); start all .*",
    "other data": r"process 1 was given something else than process 0: data.train.sha256 \(.*\); start all .*",
    "a mistake": "(process 1: )?real_batch is 0; give a whole number from 1",
}
CODES = {"killed": [1, -9], "first killed": [-9, 1], "killed before a save": [1, -9], "hangs": [1, -9],
         "launcher": [None, None], "other config": [2, 2], "other data": [2, 2], "a mistake": [2, 2]}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def heard(place: Path) -> dict[str, Any]:
    """One process for all cases, off which the two of each are forked."""
    # Torch is imported there before the command line can silence it.
    done = subprocess.run(
        [sys.executable, str(HERE / "several.py"), str(place)], capture_output=True, text=True, env=ENVIRONMENT | QUIET
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", SAID)
def test_one_sentence_says_who_where_what_is_kept_and_how_to_go_on(case: str, heard: dict[str, Any]) -> None:
    said = "".join(text for _, text in heard[case])
    assert [code for code, _ in heard[case]] == CODES.get(case, [1, 1]), said
    assert "Traceback" not in said
    long = [line for line in said.splitlines(keepends=True) if not re.fullmatch(SHORT, line)]
    assert len(long) == 1 and re.fullmatch(f"error: {SAID[case]}\n", long[0]), said


@pytest.mark.parametrize("case", ["killed", "hangs", "launcher"])
def test_the_same_command_again_ends_as_one_that_was_left_alone(case: str, heard: dict[str, Any], place: Path) -> None:
    assert heard["whole again"] == heard[f"{case} again"] == [[0, ""], [0, ""]]
    whole, again = (torch.load(place / "runs" / name / "state.pt", weights_only=True) for name in ("whole", case))
    assert torch.equal(whole["trainer"]["images"], again["trainer"]["images"])
    teachers = [found(place / "runs" / name)["teacher.safetensors"] for name in ("whole", case)]
    assert teachers[0] == teachers[1]


def test_the_traceback_of_a_bug_is_kept(heard: dict[str, Any], place: Path) -> None:
    text = (place / "runs" / "error" / "failure-1.txt").read_text()
    assert text.startswith("Traceback") and "dying.py" in text and not list((place / "runs" / "killed").glob("fail*"))


LAUNCHED = {"killed": (1, "error: process 1 has ended without a word in step 5 of 6"),
            "stopped": (130, "error: interrupted after step 5 of 6; ")}  # fmt: skip


@pytest.mark.parametrize("how", LAUNCHED)
def test_the_launcher_adds_nothing(how: str, tmp_path: Path) -> None:
    """A real torchrun with two processes, one of which is killed or stopped: the sentence, the command, no more."""
    code, beginning = LAUNCHED[how]
    (tmp_path / "config.yaml").write_text(
        f"trainer: {{class_path: dying.Dying, init_args: {{images_per_class: 1, real_batch: 2, how: {how}, learner: "
        "{class_path: gendistill.nets.learners.MLP, init_args: {width: 4}}}}\n"
        "data: {name: digits}\nrun: {name: r, root: runs, steps: 6, save_every: 2, sample_every: 0, progress: false}\n"
    )
    words = [sys.executable, "-m", "gendistill.cli", "torchrun", "--nproc-per-node=2"]
    words += ["train", "--config", "config.yaml"]
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert done.returncode == code
    (line,) = [line for line in done.stderr.splitlines() if not re.fullmatch(SHORT, f"{line}\n")]
    assert line.startswith(beginning) and "give the same command again to continue" in line
    # The very words that were typed.
    assert line.endswith(f": {' '.join(words)}")
    assert done.stdout == ""
