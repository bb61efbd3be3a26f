"""What a file may expand to, and what this machine has."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendistill import budget, torch_file
from gendistill.cli import main
from gendistill.errors import UserError
from gendistill.pickle_scan import DEEPEST, Bomb, scan


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(budget.VARIABLE, raising=False)


def test_the_allowance_is_a_multiple_and_a_constant_or_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert budget.allowance(0) == 256 * 10**6
    assert budget.allowance(10**9) == 64 * 10**9 + 256 * 10**6
    monkeypatch.setenv(budget.VARIABLE, "1000")
    assert budget.allowance(0) == 10**9
    assert budget.allowance(10**9) == 64 * 10**9 + 256 * 10**6  # it only raises


def test_a_refusal_says_what_would_do() -> None:
    with pytest.raises(UserError) as refused:
        budget.check(3 * 10**9, 1000, "'x.pt'")
    assert str(refused.value) == (
        "'x.pt' would take 3 GB of memory, more than the 256 MB that a file of 1 kB may take (64 times its size and "
        "256 MB); if you trust it, allow it with --max-expansion-mb 3000 (or the environment variable "
        "GENDISTILL_MAX_EXPANSION_MB)"
    )


def test_a_meter_counts_files_and_what_comes_out_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "CONSTANT", 0)
    meter = budget.Meter("it", 10)
    meter.add(640)
    with pytest.raises(UserError, match="more memory than the"):
        meter.add(1)
    meter.add(63, size=1)
    with pytest.raises(UserError, match=f"would take 2 MB of memory.*{budget.OPTION} 2 "):
        meter.add(1, expected=2 * 10**6)


def test_free_memory_is_the_least_of_all_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < budget.free_memory() < 2**50
    for name, text in (("max", "5000"), ("current", "2000"), ("stat", "anon 1\ninactive_file 500")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(budget, "CGROUP", tmp_path)
    assert budget.free_memory() == 3500
    (tmp_path / "memory.max").write_text("max")
    assert budget.free_memory() > 3500
    with pytest.raises(UserError, match="^it would take 1,152,922 TB of memory, .* are free; take less$"):
        budget.check_memory(2**60, "it", "take less")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory ("),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000000 bytes."),
            "for 80 MB",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"), "for 2.50 GiB"),
        (MemoryError("Unable to allocate 72.8 TiB for an array with shape (10000000, 1000000)"), "for 72.8 TiB"),
    ],
)
def test_memory_that_is_used_up_gets_a_sentence(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Any) -> int:
        raise error

    monkeypatch.setattr("gendistill.cli._dispatch", fail)
    assert main(["train"]) == 2
    words = capsys.readouterr().err
    assert said in words and words.count("\n") == 1
    assert budget.out_of_memory(RuntimeError("shapes do not match")) is None


def values() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        ),
        max_leaves=30,
    )


@given(values(), st.integers(0, 5))
def test_every_pickle_is_weighed_to_its_end(value: Any, protocol: int) -> None:
    stream = io.BytesIO(pickle.dumps(value, protocol) + b"behind")
    scan(stream, 10_000)
    assert stream.read() == b"behind"


def test_references_and_depth_are_counted() -> None:
    value: Any = ()
    for _ in range(30):
        value = (value, value)
    with pytest.raises(Bomb, match="when every reference is counted"):
        scan(io.BytesIO(pickle.dumps(value)), 10**6)
    scan(io.BytesIO(pickle.dumps(value)), 2**32)
    deep: Any = []
    for _ in range(DEEPEST + 1):
        deep = [deep]
    with pytest.raises(Bomb, match="deep"):
        scan(io.BytesIO(pickle.dumps(deep)), 10**6)


def test_tensors_are_weighed_by_what_is_made_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "CONSTANT", 100_000)
    path = tmp_path / "x.pt"
    whole = torch.arange(1000.0)
    sound = {"views": [whole[:500], whole[500:], whole.view(10, 100).T], "n": 3, "same": [whole] * 5}
    torch.save(sound, path)
    read = torch_file.load(path)
    assert torch.equal(read["views"][2], sound["views"][2]) and torch.equal(read["same"][4], whole)
    for content, said in (
        (whole[:1].expand(10**6), "would take 4 MB"),
        ([torch.zeros(5000)] + [whole] * 600, "would take 2.46 MB"),
        (torch.zeros(10**6).to_sparse(), "sparse"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=said):
            torch_file.load(path)
    circle: list[Any] = [1]
    circle.append(circle)
    path.write_bytes(b"")
    torch.save(circle, path)
    with pytest.raises(UserError, match="holds a value that holds itself|every reference"):
        torch_file.load(path)
