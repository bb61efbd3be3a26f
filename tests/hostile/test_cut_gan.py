"""Of several processes that train a GAN cut in two a block dies, hangs, sends NaN, or is given something else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_kills_of_several import ENVIRONMENT, HERE, QUIET, SHORT

from benchmarks.kills import found

KEPT = r"the last good state is kept in 'runs/[\w-]+' \(step 4\)"
AGAIN = "give the same command again to continue"
BLOCK = r"(the (discriminator|generator) block of pair \d \(process \d\))"
GENERATOR, JUDGE = (
    r"the generator block of pair {} \(process {}\)",
    r"the discriminator block of pair {} \(process {}\)",
)
HANGS = r"hangs in step 5 of 6: the others waited 20 seconds for it \(run.timeout\)"
SAID = {
    "generator killed": rf"{GENERATOR.format(1, 3)} has ended without a word in step 5 of 6, .*; {KEPT}; {AGAIN}",
    "discriminator killed": rf"{JUDGE.format(0, 0)} has ended without a word .*; {KEPT}; {AGAIN}",
    "generator hangs": rf"{GENERATOR.format(0, 1)} {HANGS}; {KEPT}; {AGAIN}",
    "discriminator stands still": rf"{JUDGE.format(1, 2)} {HANGS}; {KEPT}; {AGAIN}",
    "nan of a generator": rf"{GENERATOR.format(1, 3)} sent NaN or infinity as fakes in step 5 of 6; {KEPT}.*",
    "nan of a discriminator": rf"{JUDGE.format(0, 0)} sent NaN or infinity as gradients .*",
    "error": rf"{GENERATOR.format(0, 1)} failed in step 5 of 6 with RuntimeError: a bug .*; {AGAIN}",
    "other config": r"process 1 was given something else than process 0: .*n_dis \(2, not 1\); start all processes .*",
    "no data": r"there is no folder 'nowhere'; .*",
    "other number": r"the saved state is of 4 blocks, but this run has 2 processes with 2 blocks; start as many .*",
}  # fmt: skip
KILLED = {"generator killed": 3, "discriminator killed": 0, "generator hangs": 1, "discriminator stands still": 2}
REFUSED = ("other config", "no data", "other number")
OTHERS = SHORT.replace(r"because process \d did", rf"because (process \d|{BLOCK}) did")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


@pytest.fixture(scope="module")
def heard(place: Path) -> dict[str, Any]:
    """One process for all cases, off which those of each are forked."""
    words = [sys.executable, str(HERE / "cut.py"), str(place)]
    done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT | QUIET)
    assert done.returncode == 0, done.stderr[-3000:]
    known: dict[str, Any] = json.loads(done.stdout)
    return known


@pytest.mark.parametrize("case", SAID)
def test_one_sentence_says_which_block_of_which_pair(case: str, heard: dict[str, Any]) -> None:
    said = "".join(text for _, text, _ in heard[case])
    code = 2 if case in REFUSED else 1
    wanted = [-9 if KILLED.get(case) == rank else code for rank in range(len(heard[case]))]
    assert [one for one, *_ in heard[case]] == wanted, said
    assert "Traceback" not in said
    long = [line for line in said.splitlines(keepends=True) if not re.fullmatch(OTHERS, line)]
    # What every process sees for itself the one says that comes first.
    assert len(long) == 1 and re.fullmatch(rf"error: (process \d: )?{SAID[case]}\n", long[0]), said


@pytest.mark.parametrize("case", ["generator killed", "discriminator killed"])
def test_the_same_command_again_ends_as_one_that_was_left_alone(case: str, heard: dict[str, Any], place: Path) -> None:
    """Both schedules: with the second one a batch of images was made ahead when the state was saved."""
    for part in ("again", "whole"):
        assert [one[:2] for one in heard[f"{case} {part}"]] == [[0, ""]] * len(heard[case])
    again, whole = (found(place / "runs" / name.replace(" ", "-")) for name in (case, f"{case} whole"))
    for name in set(whole) - {"results.json"}:  # in which a run that was continued says more
        one, other = again[name], whole[name]
        if name == "state.pt":
            one, other = ({at: v for at, v in state.items() if not at.startswith(".links")} for state in (one, other))
        assert one == other, name
