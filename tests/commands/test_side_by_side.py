from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gendistill.commands.side_by_side import Lane, _Running, run_side_by_side
from gendistill.errors import GendistillError, UserError
from gendistill.runs.progress import last_step

ROOT = Path(__file__).resolve().parents[2]
GAN = ["train", "--config", str(ROOT / "configs" / "quickstart" / "gan.yaml"), "--scale", "smoke"]


def words(root: Path, name: str, *more: str) -> list[str]:
    return [*GAN, "--run.root", str(root), "--run.name", name, *more]


def lane(*commands: list[str]) -> Lane:
    return Lane("lane", commands, 1, lambda: 0)


def wait_for(condition: Callable[[], object], seconds: float = 900.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_a_failure_keeps_its_own_sentence_and_exit_code(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean '--run.steps'"):
        run_side_by_side([lane(words(tmp_path, "one", "--run.stepps", "3"))])


def test_a_failed_command_ends_its_lane_and_stops_the_others(tmp_path: Path) -> None:
    never = words(tmp_path, "never")
    endless = words(tmp_path, "endless", "--run.steps", "100000")
    with pytest.raises(UserError, match="none.yaml"):
        run_side_by_side([lane(["train", "--config", str(tmp_path / "none.yaml")], never), lane(endless)])
    assert not (tmp_path / "never").exists()


def test_a_command_that_dies_without_a_word_is_an_error_of_the_program() -> None:
    one = _Running(lane(["train"]), 1)
    one.goes_on(stopping=False)
    assert one.process is not None
    one.process.kill()
    one.process.wait()
    with pytest.raises(GendistillError, match="exit code -9") as caught:
        one.goes_on(stopping=False)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_runs_are_saved_when_the_one_that_watches_ends(tmp_path: Path, number: int) -> None:
    command = words(tmp_path, "run", "--run.steps", "100000", "--run.save_every", "100000")
    script = (
        "from gendistill.commands.side_by_side import *\nimport sys\n"
        f"try: run_side_by_side([Lane('lane', [{command!r}], 1, lambda: 0)])\n"
        "except Interrupted as error: sys.exit(error.exit_code)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        wait_for(lambda: last_step(tmp_path / "run" / "log.txt") >= 5)
        assert not (tmp_path / "run" / "state.pt").exists()
        process.send_signal(number)
        assert process.wait(600) == (130 if number == signal.SIGINT else -signal.SIGKILL)
        wait_for(lambda: (tmp_path / "run" / "state.pt").exists())
    finally:
        process.kill()
