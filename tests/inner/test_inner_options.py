"""The block of options itself: what is refused, where a window ends, when real data is looked at."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gendistill.errors import UserError
from gendistill.inner import InnerOptions, InnerTraining

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"steps": 0}, "inner.steps is 0; give a whole number from 1"),
    ({"steps": 2.5}, "inner.steps is 2.5"),
    ({"optimizer": "adamw"}, "inner.optimizer is 'adamw'; did you mean 'adam'"),
    ({"memory": "ful"}, "did you mean 'full'"),
    ({"window": 11}, r"1\.\.10"),
    ({"window": True}, "inner.window is True"),
    ({"window_end": "first"}, "random, last"),
    ({"precision": "float16"}, "float32, bfloat16"),
    ({"gradient": "shortcut", "window": 2}, "set inner.window to null"),
    ({"gradient": "shortcut", "statistics": "running"}, "set inner.statistics to batch"),
    ({"stps": 3}, "did you mean 'steps'"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED)
def test_what_is_out_of_range_is_refused_by_its_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        InnerOptions.of(given)


def test_no_block_is_no_mapping() -> None:
    assert InnerOptions.of(None) == InnerOptions.of({}) == InnerOptions()
    with pytest.raises(UserError, match="keys and values"):
        InnerOptions.of([3])  # type: ignore[arg-type]


def test_a_window_ends_anywhere_or_last_and_draws_only_then() -> None:
    generator = torch.Generator().manual_seed(0)
    inner = InnerTraining(InnerOptions(steps=6, window=3))
    ends = {inner.end(lambda: generator) for _ in range(200)}
    assert ends == {3, 4, 5, 6} and [inner.first(end) for end in sorted(ends)] == [0, 1, 2, 3]

    def nobody() -> torch.Generator:
        raise AssertionError("nothing is to be drawn")

    for options in (InnerOptions(steps=6), InnerOptions(steps=6, window=3, window_end="last")):
        assert InnerTraining(options).end(nobody) == 6


def test_looks_count_from_the_start_and_in_a_window_from_its_end() -> None:
    whole, windowed = InnerTraining(InnerOptions(steps=7)), InnerTraining(InnerOptions(steps=7, window=5))
    assert whole.looks(7, 3) == [3, 6, 7] and whole.looks(6, 3) == [3, 6]
    assert windowed.looks(7, 2) == [3, 5, 7] and windowed.looks(5, 9) == [5]
