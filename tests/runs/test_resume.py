from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_run import SmallTrainer, same, start, state_of

from tests.same_teacher import alike

PROGRAM = str(Path(__file__).parent / "small_run.py")


def test_a_run_killed_at_any_moment_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, PROGRAM, "killed", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reached = json.loads(done.stdout)
    # Killed before any state, with a previous state alone, and at later steps.
    assert reached[0] == 0 and reached == sorted(reached) and len(set(reached)) >= 3
    same(state_of(tmp_path, "killed"), state_of(tmp_path, "whole"))
    assert alike(*(tmp_path / name / "teacher.safetensors" for name in ("killed", "whole")))
    assert not list((tmp_path / "killed").glob("**/*.tmp"))


@pytest.mark.parametrize("at", [1, 5, 11])
def test_parts_equal_the_whole_to_the_bit(tmp_path: Path, at: int) -> None:
    start(tmp_path, "whole")
    start(tmp_path, "parts", steps=at)
    torch.randn(3)  # what happens between the parts does not matter
    start(tmp_path, "parts")
    parts, whole = state_of(tmp_path, "parts"), state_of(tmp_path, "whole")
    # The end of a part ends an interval of the log as well, so what was reported last is over fewer steps.
    del parts["reported"], whole["reported"]
    same(parts, whole)


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    start(tmp_path, "one", seed=0)
    start(tmp_path, "other", seed=1)
    with pytest.raises(AssertionError):
        same(state_of(tmp_path, "one"), state_of(tmp_path, "other"))


def test_pictures_saves_and_logs_do_not_change_training(tmp_path: Path) -> None:
    start(tmp_path, "quiet", sample_every=0, save_every=12, log_every=12)
    start(tmp_path, "busy", sample_every=1, save_every=2, log_every=1, histograms=True)
    quiet, busy = state_of(tmp_path, "quiet"), state_of(tmp_path, "busy")
    same(quiet["trainer"], busy["trainer"])
    same(quiet["global"], busy["global"])
    assert len(list((tmp_path / "busy" / "samples").glob("*.png"))) == 12


def test_a_run_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    start(tmp_path, "run")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_continue(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen([sys.executable, PROGRAM, "forever", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "forever" / "log.txt"
    deadline = time.monotonic() + 900
    while not (log.exists() and "step 3/" in log.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, message = process.communicate(timeout=900)
    assert process.returncode == code, message
    step = state_of(tmp_path, "forever")["step"]
    assert f"interrupted after step {step} of 100000; give the same call with directory='" in message
    assert "Traceback" not in message
    # And what was saved is the run: ended at that step, it is the same as one that was never told to stop.
    start(tmp_path, "whole", SmallTrainer(batch_size=12), steps=step)
    same(state_of(tmp_path, "forever")["trainer"], state_of(tmp_path, "whole")["trainer"])
