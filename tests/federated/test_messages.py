"""What a message may be: exactly what was agreed on, or it is refused in a sentence."""

from __future__ import annotations

import math
import struct
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendistill.errors import UserError
from gendistill.federated import messages
from gendistill.federated.messages import (
    HEAD,
    Ask,
    Done,
    Fakes,
    Feedback,
    Head,
    Hello,
    Refused,
    Terms,
    Welcome,
    decode,
    encode,
)

RUN = bytes(range(16))
TERMS = Terms(10, 3, 2, 5, 1, 4, 4, 5, 1.0)
IMAGES = torch.linspace(-1, 1, 9 * 16).view(9, 1, 4, 4)
LABELS = torch.arange(9) % 5
ALL = (Hello, Welcome, Ask, Fakes, Feedback, Done)


def sent(message: Any, terms: Terms = TERMS, **head: Any) -> bytes:
    return encode(Head(RUN, **head), message, terms)


@pytest.mark.parametrize("numbers", ["float32", "float64"])
@pytest.mark.parametrize("feedback", ["gradient", "score"])
def test_what_is_written_is_read(numbers: str, feedback: str) -> None:
    terms = replace(TERMS, numbers=numbers, feedback=feedback)
    values = torch.randn(
        terms.feedback_shape, dtype=getattr(torch, numbers), generator=torch.Generator().manual_seed(1)
    )
    for message in (Hello(terms, (4, 2, 0)), Welcome(), Ask(), Fakes(IMAGES, LABELS), Feedback(values), Done()):
        data = sent(message, terms, session=7, round=3)
        head, found = decode(data, RUN, terms, (type(message),))
        assert head == Head(RUN, 7, 3) and type(found) is type(message)
        assert len(data) <= terms.largest
        if isinstance(found, Hello):
            assert found == message
        if isinstance(found, Fakes):
            assert torch.equal(found.images, IMAGES.to(found.images.dtype)) and torch.equal(found.labels, LABELS)
        if isinstance(found, Feedback):
            assert torch.equal(found.values, values)
    assert len(sent(Fakes(IMAGES, LABELS), terms)) == terms.fakes_size
    assert len(sent(Feedback(values), terms)) == terms.feedback_size


def broken(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


GOOD = sent(Feedback(torch.zeros(3, 1, 4, 4)))
CASES = {
    "another run": (broken(GOOD, 6, b"\xff"), "another run"),
    "no message": (b"GET / HTTP/1.1" + GOOD, "no message of this program"),
    "version": (broken(GOOD, 4, b"\x09"), "version 9"),
    "unknown kind": (broken(GOOD, 5, b"\x63"), "of kind 99"),
    "kind": (sent(Welcome()), "of kind Welcome"),
    "short": (GOOD[:-1], "expected 192"),
    "long": (GOOD + b"x", "expected 192"),
    "oversized": (GOOD + bytes(TERMS.largest), "more than"),
    "head alone": (GOOD[: HEAD.size], "0 bytes"),
    "nothing": (b"", "too few"),
    "dtype": (GOOD[: HEAD.size] + bytes(2 * 192), "wrong shape or type"),
    "half": (GOOD[: HEAD.size] + bytes(96), "wrong shape or type"),
    "NaN": (broken(GOOD, HEAD.size + 8, struct.pack("<f", math.nan)), "NaN or infinite"),
    "infinite": (broken(GOOD, HEAD.size + 8, struct.pack("<f", -math.inf)), "NaN or infinite"),
    "range": (broken(GOOD, HEAD.size + 8, struct.pack("<f", 1e7)), "beyond 1e"),
    "rounds": (sent(Hello(TERMS, ()))[:], "0 rounds"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_exactly_a_message_is_refused(case: str) -> None:
    data, said = CASES[case]
    with pytest.raises(Refused, match=said):
        decode(data, RUN, TERMS, (Hello, Ask, Feedback))


def test_a_site_refuses_images_that_a_server_could_not_have_generated() -> None:
    for images, labels, said in (
        (IMAGES * 2, LABELS, "beyond 1"),
        (IMAGES * math.nan, LABELS, "NaN"),
        (IMAGES, LABELS + 1, "class 5"),
        (IMAGES[:8], LABELS, "expected"),
    ):
        with pytest.raises(Refused, match=said):
            decode(sent(Fakes(images, labels)), RUN, TERMS, (Fakes, Done))


def test_a_site_has_no_word_for_its_images_or_weights() -> None:
    """Whatever a site can say: where it stands, and numbers of the size of the images that it was sent."""
    spoken = {Hello: {"terms", "rounds"}, Ask: set(), Feedback: {"values"}}
    assert {kind: {field.name for field in fields(kind)} for kind in spoken} == spoken
    assert {kind for kind in messages.KINDS.values()} - {Welcome, Fakes, Done} == set(spoken)
    for wrong in (torch.zeros(4, 1, 4, 4), torch.zeros(3, 3, 4, 4), torch.zeros(10_000)):
        with pytest.raises(Refused):
            decode(sent(Feedback(wrong)), RUN, TERMS, (Feedback,))


@given(st.binary(max_size=400), st.integers(0, 7))
def test_any_bytes_are_a_message_or_one_sentence(data: bytes, kind: int) -> None:
    for tried in (data, HEAD.pack(b"GDPG", 1, kind, RUN, 0, 0) + data):
        try:
            _, found = decode(tried, RUN, TERMS, ALL)
        except Refused as refusal:
            assert "\n" not in str(refusal)
        else:
            assert isinstance(found, ALL)
            if isinstance(found, Feedback):
                assert found.values.isfinite().all()


def test_terms_say_what_differs_and_how_large_a_round_is() -> None:
    assert TERMS.differences(TERMS) == []
    assert TERMS.differences(replace(TERMS, batch=4)) == ["batch is 4, here 3"]
    with pytest.raises(UserError, match="smaller batch_size"):
        Terms(1, 10**6, 1, 1, 3, 64, 64, 0, 1.0)
