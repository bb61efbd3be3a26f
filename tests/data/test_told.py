"""What processes without real data know of it, and what travels between the processes of a run."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill import data
from gendistill.data.description import Description, Normalisation
from gendistill.data.embedding import PAD, UNKNOWN, Embedding
from gendistill.data.fingerprint import contents, fingerprint
from gendistill.data.real import RealData, Split
from gendistill.data.told import PARTS, heard, told
from gendistill.errors import UserError
from gendistill.links.exchanges import _packed, _unpacked


def text() -> RealData:
    embedding = Embedding((PAD, UNKNOWN, "good", "bad"), torch.tensor([[0.0, 0], [1, 1], [2, 1], [0, 3]]))
    normalisation = Normalisation((0.0,), (1.0,), None, embedding)
    split = Split(torch.tensor([[[[2], [0], [1]]], [[[3], [1], [0]]]], dtype=torch.int32), torch.tensor([0, 1]))
    return RealData(Description("words", ("for", "against"), (1, 3, 2), normalisation), split, split, split)


def kinds(tiny: RealData) -> dict[str, RealData]:
    noted = replace(tiny, notes=("a note",), background="black", options={"name": "bands", "root": "/x y"})
    return {
        "pictures": noted,
        "whitened": tiny.with_normalisation(tiny.whitening()),
        "points": data.load("ring:veegan"),
        "text": text(),
    }


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from tensors(one)


@pytest.mark.parametrize("kind", ["pictures", "whitened", "points", "text"])
def test_what_is_told_is_all_but_the_images(kind: str, tiny_data: RealData) -> None:
    real = kinds(tiny_data)[kind]
    known = heard(_unpacked(_packed(told(real))))
    assert known.description == real.description and known.notes == real.notes
    assert (known.background, known.options) == (real.background, real.options)
    assert contents(known) == contents(real) and fingerprint(known) == fingerprint(real)
    for name in PARTS:
        part, whole = getattr(known, name), getattr(real, name)
        assert len(part) == len(whole) and len(part.images) == len(part.labels) == 0
        assert part.images.shape[1:] == whole.images.shape[1:] and part.images.dtype == whole.images.dtype
        with pytest.raises(RuntimeError, match="holds no real data"):
            part.batch(torch.tensor([0]), real.description.normalisation)
    assert all(not len(one) for one in tensors(told(real)["parts"]))


def test_what_is_not_complete_is_refused(tiny_data: RealData) -> None:
    for name in told(tiny_data):
        with pytest.raises(UserError, match="not complete"):
            heard({key: value for key, value in told(tiny_data).items() if key != name})


def test_plain_values_and_tensors_travel_and_code_does_not() -> None:
    values = {"a": (1, 2.5, None, True, "word"), 7: [torch.arange(3), torch.tensor(2.0, dtype=torch.float64)]}
    back = _unpacked(_packed(values))
    assert back["a"] == values["a"]
    assert all(
        torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(back[7], values[7], strict=True)
    )
    with pytest.raises(pickle.UnpicklingError):
        _unpacked(_packed(Description("bands", ("a",), (1, 8, 8))))
