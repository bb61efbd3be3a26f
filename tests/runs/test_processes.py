from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from small_run import SmallTrainer, same, start, state_of

from gendistill.errors import StorageError, UserError
from gendistill.runs.partners import LostPartner, Partners
from gendistill.runs.processes import Processes

PROGRAM = str(Path(__file__).parent / "small_run.py")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    processes = Processes.from_environment()
    assert (processes.rank, processes.world, processes.main) == (0, 1, True)
    processes.connect()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("values", [{"RANK": "1"}, {"RANK": "a", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}])
def test_a_half_set_environment_is_said(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="start with torchrun"):
        Processes.from_environment()


def test_shards_make_the_whole() -> None:
    batch = torch.arange(12).view(6, 2)
    shards = [Processes(rank, 3).shard(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shards), batch) and [len(shard) for shard in shards] == [2, 2, 2]
    assert Processes().shard(batch) is batch


def test_a_batch_that_does_not_divide_is_said() -> None:
    with pytest.raises(UserError, match="a batch of 5 does not divide among 2 processes"):
        Processes(0, 2).shard(torch.zeros(5))


def test_one_process_is_its_own_mean() -> None:
    processes = Processes()
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.tensor([1.0, 2.0])
    processes.average_gradients([weight])
    assert weight.grad.tolist() == [1.0, 2.0] and processes.highest(3) == 3
    assert processes.mean(weight) is weight


def test_an_error_of_the_main_process_is_raised_there() -> None:
    def fail() -> None:
        raise StorageError("full")

    with pytest.raises(StorageError, match="full"):
        Processes().on_main(fail)
    Processes(rank=0).on_main(lambda: None)


def test_two_processes_under_torchrun(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([*command, PROGRAM, "torchrun", str(tmp_path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, parts, signalled = (state_of(tmp_path, name) for name in ("whole", "parts", "signalled"))
    same(parts, whole)
    same(signalled["trainer"], whole["trainer"])
    # One process with the whole batch.
    start(tmp_path, "alone", SmallTrainer(smooth=False, batch_size=12))
    alone = state_of(tmp_path, "alone")
    for name, tensor in alone["trainer"]["net"].items():
        torch.testing.assert_close(whole["trainer"]["net"][name], tensor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole["trainer"]["pixels"], alone["trainer"]["pixels"], rtol=1e-4, atol=1e-5)
    same(whole["streams"], alone["streams"])
    # Half the batch alone is something else: the comparison can fail.
    start(tmp_path, "half", SmallTrainer(smooth=False, batch_size=6))
    half = state_of(tmp_path, "half")["trainer"]["pixels"]
    assert not torch.allclose(whole["trainer"]["pixels"], half, rtol=1e-4, atol=1e-5)
    # Only one process writes.
    assert len(list((tmp_path / "whole").glob("events.*"))) == 1
    assert (tmp_path / "whole" / "log.txt").read_text().count("step 12/12") == 1
    heard = [json.loads((tmp_path / f"heard-{rank}.json").read_text()) for rank in range(2)]
    for messages in heard:
        # The signal went to process 1 in step 7; both stop after that step, and one of them says so.
        assert messages["signalled"][0] == 143
        assert messages["odd"] == [2, "batch_size 13 does not divide among 2 processes; choose a multiple"]
        assert messages["whole"][0] == 2
    assert "run.seed (stored 0, given 1)" in heard[0]["whole"][1]
    assert "after step 7 of 12" in heard[0]["signalled"][1] and "torch.distributed.run" in heard[0]["signalled"][1]
    assert heard[1]["signalled"][1] == "process 1 stops because process 0 did; its message says why"
    assert heard[1]["whole"][1] == "process 1 stops because process 0 did; its message says why"


def test_what_was_said_in_one_run_says_nothing_of_the_next() -> None:
    store = dist.HashStore()
    (one, other), (again, _) = ([Partners(rank, 2, store, run) for rank in (0, 1)] for run in (1, 2))
    other.leave_word()
    other.say_late()
    with pytest.raises(LostPartner, match="another process has ended"):
        one.look()
    again.look()
    assert one.is_late() and not again.is_late() and one.gone() == ([1], [])
