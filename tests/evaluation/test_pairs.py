"""One pass over the pairs gives what KID and the scores of neighbours give by themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.evaluation import gram
from gendistill.evaluation.kernel import kernel_distance
from gendistill.evaluation.neighbours import neighbour_scores
from gendistill.evaluation.pairs import RealPairs, compare_pairs
from gendistill.seeds import stream

CLASSES = 4


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(2, 30), st.sampled_from([1, 70, 10_000]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_one_pass_is_as_good_as_many(seed: int, reals: int, fakes: int, values: int, copies: bool) -> None:
    generator = stream(seed, "pairs")
    real, fake = (torch.randn(count, 3, generator=generator, dtype=torch.float64) for count in (reals, fakes))
    if copies:
        fake[: fakes // 2] = fake[0]
    fake[0] = real[1]
    real_classes, classes = (torch.randint(CLASSES, (count,), generator=generator) for count in (reals, fakes))
    shares = torch.rand(CLASSES, generator=generator, dtype=torch.float64)
    draws = [torch.arange(fakes)]
    draws += [torch.randperm(fakes, generator=generator)[: 2 + seed % (fakes - 1)] for _ in range(3)]
    same = torch.tensor([[0, 1]])
    before, gram.VALUES = gram.VALUES, values
    try:
        side = RealPairs.of(real, real_classes, CLASSES, 5)
        kid, scores = compare_pairs(side, fake, classes, draws, shares=shares, same=same, nearest=5)
    finally:
        gram.VALUES = before
    given = {"first_classes": classes, "second_classes": real_classes, "shares": shares, "same": same}
    expected = kernel_distance(fake, real, **given)
    assert kid["estimator"] == expected["estimator"]
    assert (kid["std"] is None) == (expected["std"] is None)
    for name in ("value", "std", "class_pairs"):
        assert kid[name] is None or kid[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-6, nan_ok=True)
    for index, found in zip(draws, scores, strict=True):
        assert found == pytest.approx(neighbour_scores(real, fake[index]))


def test_what_is_kept_of_the_real_side_is_all_of_it() -> None:
    real, classes = torch.randn(20, 3, generator=stream(0, "real")), torch.arange(20) % CLASSES
    fake, draws = torch.randn(9, 3, generator=stream(1, "fake")), [torch.arange(9)]
    made = RealPairs.of(real, classes, CLASSES, 3)
    kept = RealPairs.restored(real, classes, CLASSES, made.tensors())
    assert kept is not None
    options = {"shares": torch.ones(CLASSES), "same": torch.empty(0, 2, dtype=torch.int64), "nearest": 3}
    given = fake, torch.zeros(9, dtype=torch.int64), draws
    assert compare_pairs(kept, *given, **options) == compare_pairs(made, *given, **options)


def test_what_cannot_be_of_these_features_is_not_taken() -> None:
    real, classes = torch.randn(20, 3, generator=stream(0, "real")), torch.arange(20) % CLASSES
    made = RealPairs.of(real, classes, CLASSES, 3).tensors()
    assert RealPairs.restored(real[1:], classes[1:], CLASSES, made) is None
    assert RealPairs.restored(real, classes, CLASSES, {**made, "sums": made["sums"] * torch.nan}) is None
    assert RealPairs.restored(real, classes, CLASSES, {name: made[name] for name in ("sums", "reach")}) is None
