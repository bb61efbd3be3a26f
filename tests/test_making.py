"""What a file says of its making: what a run writes, and what of a stranger's file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.data import load as load_data
from gendistill.making import COUNTS, KEY, LARGEST, SECONDS, entry, making
from gendistill.teacher import RealSubset, load, save
from gendistill.teacher.words import in_words


def subset(noted: Any) -> RealSubset:
    data = load_data("digits")
    one = RealSubset.random(
        data.train, data.description, images_per_class=1, generator=torch.Generator().manual_seed(0)
    )
    one.metadata[KEY] = noted
    return one


def test_what_is_written_is_read_and_what_is_stored_is_counted_on_the_tensors(tmp_path: Path) -> None:
    spent = {"steps": 7, "cpu_seconds": 1.5, "gpu_seconds": None, "seconds": 2.25, "processes": 1, "peak_memory": 10**9}
    noted = entry(subset({}).budget(), spent, None)
    assert noted["image_bytes"] == 640 and noted["label_bytes"] == 80 and noted["distinct_images"] == 10
    assert noted["learner_updates"] is None and "gpu_seconds" not in noted
    save(subset(noted | {"image_bytes": 1}), tmp_path / "t.safetensors")
    again = load(tmp_path / "t.safetensors")
    assert making(again) == {name: value for name, value in spent.items() if value is not None}
    assert again.budget()["image_bytes"] == 640
    assert "made in 1.5 s of a processor" in in_words(again)


@pytest.mark.parametrize("bad", [-1, True, "3", float("inf"), 2 * LARGEST, 10**400, [1], {}, None])
def test_an_entry_that_is_none_of_its_kind_is_left_out(bad: Any) -> None:
    teacher = subset({})
    for name in (*COUNTS, *SECONDS):
        teacher.metadata[KEY] = {name: bad, "steps": 3} if name != "steps" else {name: bad, "processes": 3}
        assert list((making(teacher) or {}).values()) == [3]
        assert in_words(teacher)
    teacher.metadata[KEY] = bad
    assert making(teacher) is None and in_words(teacher)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from([*COUNTS, *SECONDS, "other"]), st.floats() | st.integers() | st.text()))
def test_nothing_but_bounded_numbers_comes_out(noted: dict[str, Any]) -> None:
    teacher = subset({})
    teacher.metadata[KEY] = noted
    for name, value in (making(teacher) or {}).items():
        assert name in (*COUNTS, *SECONDS) and 0 <= value <= LARGEST and noted[name] == value
