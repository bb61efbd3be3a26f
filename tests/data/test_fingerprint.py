"""The fingerprint of data: the same for the same content, another one for any change, and words for it."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.data import fingerprint as room
from gendistill.data import load
from gendistill.data.description import Description, Normalisation
from gendistill.data.fingerprint import changes, contents, fingerprint, require_unchanged, split_fingerprint
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError


def copied(data: RealData) -> RealData:
    def part(split: Split) -> Split:
        return Split(split.images.clone(), split.labels.clone())

    return RealData(data.description, part(data.train), part(data.validation), part(data.test))


def test_equal_content_is_equal_wherever_it_lies(tiny_data: RealData) -> None:
    other = copied(tiny_data)
    moved = replace(other, description=replace(other.description, name="elsewhere"))
    strided = replace(
        other, test=Split(other.test.images.transpose(2, 3).contiguous().transpose(2, 3), other.test.labels)
    )
    assert fingerprint(tiny_data) == fingerprint(other) == fingerprint(moved) == fingerprint(strided)
    assert len(fingerprint(other)) == 64 and contents(other) == contents(tiny_data)
    assert changes(contents(other), contents(tiny_data)) == []


@given(st.sampled_from(["train", "validation", "test"]), st.booleans(), st.integers(0, 10**6), st.data())
@settings(max_examples=30, deadline=None)
def test_one_value_makes_another_fingerprint(part: str, of_labels: bool, place: int, data: st.DataObject) -> None:
    rng = torch.Generator().manual_seed(0)
    parts = [Split(torch.randint(0, 256, (9, 1, 4, 4), generator=rng).byte(), torch.arange(9) % 3) for _ in range(3)]
    real = RealData(Description("x", ("a", "b", "c"), (1, 4, 4)), *parts)
    before = contents(real), fingerprint(real)
    split = getattr(real, part)
    values = (split.labels if of_labels else split.images).view(-1)
    values[place % len(values)] = (values[place % len(values)] + 1) % 3
    # In place: what was remembered of these tensors is no longer true.
    assert fingerprint(real) != before[1]
    assert changes(before[0], contents(real)) == [f"{room.PARTS[part]} images (as many, 9, with another content)"]


def test_everything_that_counts_counts(tiny_data: RealData) -> None:
    description = tiny_data.description
    others = {
        "classes (top, middle, bottom then, a, b, c now)": replace(description, class_names=("a", "b", "c")),
        "normalisation (mean 0.3, std 0.3 then, mean 0.3, std 0.31 now)": replace(
            description, normalisation=Normalisation((0.3,), (0.31,))
        ),
    }
    for words, other in others.items():
        changed = replace(tiny_data, description=other)
        assert fingerprint(changed) != fingerprint(tiny_data)
        assert changes(contents(tiny_data), contents(changed)) == [words]
    whitened = [tiny_data.with_normalisation(tiny_data.whitening(epsilon)) for epsilon in (0.1, 0.1, 0.3)]
    found = [fingerprint(one) for one in whitened]
    assert found[0] == found[1] != found[2] and fingerprint(tiny_data) not in found
    fewer = replace(tiny_data, test=Split(tiny_data.test.images[:50], tiny_data.test.labels[:50]))
    assert changes(contents(tiny_data), contents(fewer)) == ["test images (60 then, 50 now)"]


def test_sentences_have_one(tiny_data: RealData) -> None:
    text, shorter = load("toytext"), load("toytext", embedding=8)
    assert fingerprint(text) == fingerprint(load("toytext")) != fingerprint(shorter)
    assert changes(contents(text), contents(shorter)) == ["image shape ((1, 19, 16) then, (1, 19, 8) now)"]
    assert "words" in contents(text)["normalisation"]


def test_it_is_computed_once_for_the_same_tensors(tiny_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    data = copied(tiny_data)
    calls = []
    original = room.tensors_fingerprint
    monkeypatch.setattr(room, "tensors_fingerprint", lambda tensors: calls.append(1) or original(tensors))
    first = fingerprint(data)
    # Another description or another device that is none leaves the images where they are.
    assert fingerprint(data.to("cpu").with_normalisation(Normalisation((0.5,), (0.5,)))) != first
    assert fingerprint(data) == first and len(calls) == 3
    relabelled = Split(data.train.images, data.train.labels.flip(0))
    assert split_fingerprint(relabelled) != split_fingerprint(data.train)
    known = len(room._KNOWN)
    del data, relabelled
    gc.collect()
    assert len(room._KNOWN) <= known - 3


def test_changed_data_is_refused_in_one_sentence(tiny_data: RealData) -> None:
    before = contents(tiny_data)
    require_unchanged(before, contents(copied(tiny_data)), "'x' holds a run", "go on")
    fewer = replace(tiny_data, train=Split(tiny_data.train.images[:90], tiny_data.train.labels[:90]))
    fewer.test.images[0] += 1
    with pytest.raises(UserError) as caught:
        require_unchanged(before, contents(fewer), "'x' holds a run", "choose another run.name")
    assert str(caught.value) == (
        "'x' holds a run on data that changed since: training images (96 then, 90 now), test images (as many, 60, with "
        "another content); choose another run.name"
    )
    with pytest.raises(UserError, match="what is noted of them, which cannot be read"):
        require_unchanged({"train": 3}, before, "'x' holds a run", "go on")
