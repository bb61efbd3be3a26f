"""Whether bfloat16 is worth trying: by one convolution's time, on CPUs alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gendistill import bfloat16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    bfloat16._on_cpu.cache_clear()
    yield
    bfloat16._on_cpu.cache_clear()


@pytest.mark.parametrize(("factor", "told"), [(40.0, 40.0), (1.5, 1.5), (1.4, None), (0.5, None)])
def test_what_is_half_as_slow_again_is_told(monkeypatch: pytest.MonkeyPatch, factor: float, told: float | None) -> None:
    monkeypatch.setattr(bfloat16, "_seconds", lambda dtype: factor if dtype == torch.bfloat16 else 1.0)
    assert bfloat16.slowdown(CPU) == told


def test_it_is_timed_once_and_only_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.dtype] = []
    monkeypatch.setattr(bfloat16, "_seconds", lambda dtype: asked.append(dtype) or 1.0)
    assert bfloat16.slowdown(torch.device("cuda")) is None and not asked
    bfloat16.slowdown(CPU)
    bfloat16.slowdown(CPU)
    assert asked == [torch.bfloat16, torch.float32]


def test_the_time_of_a_convolution_is_a_time() -> None:
    assert 0 < bfloat16._seconds(torch.float32) < 1
