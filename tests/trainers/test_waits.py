"""No step of a trainer waits for a GPU: counted on a device that is not there, where numbers are the CPU's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from benchmarks.stand_in import DEVICE, Elsewhere, stand_in
from benchmarks.waits import SETTINGS, advance, attach, count, files, small_data
from gendistill.errors import UserError
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.unroll import replay
from gendistill.unroll.replay import Recording, Work, by_calling

# A search for architectures goes by the numbers that its policy drew: they are read, once a step for all of them.
INHERENT = {"enas": Counter({"a tensor is copied to the host at trainers/enas.py": 1})}
PAIRS = [
    "gan, ema and decay",
    "wgan-gp",
    "gtn, window and adam",
    "dsa",
    "mtt, batches",
    "dd, window",
    "latents, thesis",
]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_second_step_waits_for_nothing(name: str) -> None:
    found = count(name)
    assert Counter(wait.rpartition(":")[0] for wait in found["waits"]) == INHERENT.get(name, Counter()), found["waits"]


@pytest.mark.parametrize("name", PAIRS)
def test_a_step_there_gives_the_numbers_of_a_step_here(name: str, tmp_path: Path) -> None:
    data = small_data()
    paths = files(tmp_path, data)
    here = attach(SETTINGS[name](*paths), data, tmp_path, torch.device("cpu"))
    wanted = [advance(here) for _ in range(2)][-1]
    with stand_in():
        there = attach(SETTINGS[name](*paths), data, tmp_path, DEVICE)
        found = [advance(there) for _ in range(2)][-1]
    assert found.keys() == wanted.keys()
    for key, value in found.items():
        assert isinstance(value, Elsewhere), f"{key} is not on the device"
        torch.testing.assert_close(value.held, wanted[key], rtol=1e-4, atol=1e-4, msg=key)


def waits(function: object) -> list[str]:
    with stand_in() as device:
        there = torch.arange(4.0).to(DEVICE, non_blocking=True)
        device.forget()
        function(there)  # type: ignore[operator]
        return [wait.partition(" at ")[0] for wait in device.waits]


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda there: there.sum().item(), "a number is read"),
        (lambda there: int(there[1]), "a number is read"),
        (lambda there: bool((there > 1).any()), "a number is read"),
        (lambda there: there.tolist(), "a tensor is copied to the host"),
        (lambda there: there.cpu(), "a tensor is copied to the host"),
        (lambda there: there[there > 1], "a shape depends on numbers (a mask as index)"),
        (lambda there: (there > 1).nonzero(), "a shape depends on numbers (nonzero)"),
        (lambda there: there.unique(), "a shape depends on numbers (_unique2)"),
        (lambda there: torch.tensor([1.0], device=there.device), "a tensor is made of numbers"),
        (lambda there: torch.as_tensor(2.0, device=there.device), "a tensor is made of numbers"),
        (lambda there: there[torch.tensor([1, 2])], "an index is copied to the device"),
        (lambda there: torch.zeros(3).to(there.device), "a tensor is copied to the device, and waited for"),
    ],
)  # fmt: skip
def test_what_waits_is_seen(function: object, wanted: str) -> None:
    assert waits(function) == [wanted]


@pytest.mark.parametrize(
    "function",
    [
        lambda there: torch.zeros(3).to(there.device, non_blocking=True),
        lambda there: there.new_full((), 2.0) + 1.0,
        lambda there: there[1:3].square().sum(),
        lambda there: torch.where(there > 1, there, 0.0),
        lambda there: there.index_select(0, torch.ones(2, dtype=torch.int64, device=there.device)),
    ],
)
def test_what_does_not_wait_is_not(function: object) -> None:
    assert waits(function) == []


def test_two_devices_do_not_mix() -> None:
    with stand_in():
        there = torch.zeros(3, device=DEVICE)
        with pytest.raises(RuntimeError, match="two devices"):
            there + torch.zeros(3)
        with pytest.raises(RuntimeError, match="draws elsewhere"):
            torch.randn(3, device=DEVICE, generator=torch.Generator())
        drawn = torch.randn(3, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(4))
    assert isinstance(drawn, Elsewhere)
    assert torch.equal(drawn.held, torch.randn(3, generator=torch.Generator().manual_seed(4)))


TAUGHT = {
    "gtn": {"memory": "recompute"},
    "gtn, learners together": {"memory": "recompute"},
    "dd": {"memory": "recompute"},
    "dd, soft labels": {"memory": "recompute"},
    "mtt, batches": {},
    "gan, meta-loss": {},
    "latents, meta-loss": {},
    "latents, trajectory": {},
}


@pytest.mark.parametrize("name", TAUGHT)
def test_recorded_steps_teach_what_the_program_does(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_data()
    paths = files(tmp_path, data)
    recordings: list[object] = []

    def record(work: Work) -> Recording:
        recordings.append(work)
        return by_calling(work)

    monkeypatch.setattr(replay, "on_gpu", record)
    found = []
    for wanted in (False, True):
        trainer = attach(SETTINGS[name](*paths), data, tmp_path, torch.device("cpu"), cuda_graphs=wanted)
        found.append([advance(trainer) for _ in range(3)][-1])
        assert bool(recordings) == wanted
    made = len(recordings)
    assert made % 2 == 0 and made <= 8  # there and back, of the first step and of the others
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-3, atol=1e-4, msg=key)


def test_recorded_steps_need_a_gpu(tmp_path: Path) -> None:
    options = RunOptions("run", str(tmp_path), 2, device="cpu", cuda_graphs=True)
    with pytest.raises(UserError, match=r"run\.cuda_graphs is true, but the run is on cpu"):
        train(SETTINGS["gtn"]("", ""), small_data(), options)
