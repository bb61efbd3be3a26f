"""Every public score, given whatever tensors: finite numbers within their bounds, or one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gendistill.batch_coresets import inclusion_probabilities
from gendistill.coresets import herding, k_center, k_means, nearest_members
from gendistill.errors import UserError
from gendistill.evaluation.frechet import (
    frechet_distance,
    frechet_distance_from_features,
    frechet_distance_to_moments,
    moments,
)
from gendistill.evaluation.inception_score import inception_score
from gendistill.evaluation.kernel import kernel_distance
from gendistill.evaluation.neighbours import neighbour_scores
from gendistill.evaluation.ranking import ranking
from gendistill.evaluation.robust_scores import augmentation_robust_score, label_robust_score, squashed
from gendistill.seeds import stream

KINDS = ("normal", "constant", "zero", "one constant column", "copies", "huge", "tiny", "far away", "lattice")
SPOILT = (None, math.nan, math.inf, -math.inf, 1e30)
TYPES = (torch.float64, torch.float32, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64)


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a nested result."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, Tensor):
        yield from value.flatten().tolist()
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


def made(seed: int, count: int, width: int, kind: str) -> Tensor:
    values = torch.randn(count, width, generator=stream(seed, "odd"), dtype=torch.float64)
    if kind == "constant":
        values[:] = 3.7
    elif kind == "zero":
        values.zero_()
    elif kind == "one constant column" and width:
        values[:, 0] = 1
    elif kind == "copies" and count:
        values[:] = values[torch.arange(count) // 3 * 3]
    elif kind == "huge":
        values *= 1e200
    elif kind == "tiny":
        values *= 1e-200
    elif kind == "far away":
        values += 1e8
    elif kind == "lattice":
        values = values.round()
    return values


@st.composite
def odd(draw: st.DrawFn, widths: tuple[int, ...] = (0, 1, 2, 5, 9)) -> Tensor:
    """Features of any kind, type and shape."""
    count, width = draw(st.integers(0, 14)), draw(st.sampled_from(widths))
    values = made(draw(st.integers(0, 99)), count, width, draw(st.sampled_from(KINDS)))
    spoilt = draw(st.sampled_from(SPOILT))
    if spoilt is not None and values.numel():
        values.view(-1)[draw(st.integers(0, values.numel() - 1))] = spoilt
    dtype = draw(st.sampled_from(TYPES))
    if not dtype.is_floating_point and not dtype.is_complex:
        values = values.nan_to_num().clamp(0, 200)
    values = values.to(dtype)
    shape = draw(st.sampled_from(["matrix", "matrix", "matrix", "vector", "cube", "scalar"]))
    if shape == "vector":
        return values.flatten()
    if shape == "cube":
        return values[None]
    return values.new_ones(()) if shape == "scalar" else values


def finite_or_told(score: Callable[[], Any], least: float = -math.inf, most: float = math.inf) -> None:
    """Call a score; its numbers must be finite and within bounds, or it must say why not in one sentence."""
    try:
        result = score()
    except UserError as error:
        sentence = str(error)
        assert 20 < len(sentence) < 400 and "\n" not in sentence
        return
    for number in numbers(result):
        assert math.isfinite(number) and least <= number <= most, result


@given(odd(), odd())
@settings(max_examples=300, deadline=None)
def test_scores_of_two_sets(first: Tensor, second: Tensor) -> None:
    finite_or_told(lambda: frechet_distance_from_features(first, second), 0)
    finite_or_told(lambda: neighbour_scores(first, second), 0, 1e3)
    finite_or_told(lambda: kernel_distance(first, second))
    finite_or_told(lambda: frechet_distance_to_moments(first, *moments(second)), 0)


@given(odd(widths=(3,)), odd(widths=(3,)), st.integers(0, 99), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_kid_with_classes(first: Tensor, second: Tensor, seed: int, count: int) -> None:
    """Undefined (NaN) only where there is no pair of classes to compare."""
    generator = stream(seed, "classes")
    kinds = [torch.randint(count, one.shape[:1], generator=generator) for one in (first, second)]

    def score() -> dict[str, Any]:
        found = kernel_distance(first, second, first_classes=kinds[0], second_classes=kinds[1])
        if found["class_pairs"] == 0:
            assert math.isnan(found.pop("value"))
        return found

    finite_or_told(score)


@given(odd(), odd(widths=(1, 2, 5)), odd(), odd(widths=(1, 2, 5)))
@settings(max_examples=150, deadline=None)
def test_scores_of_moments(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> None:
    finite_or_told(lambda: moments(mean))
    finite_or_told(lambda: frechet_distance(mean, covariance, other_mean, other_covariance), 0)
    if covariance.ndim == 2 and covariance.dtype == torch.float64:
        square = covariance.T @ covariance
        finite_or_told(lambda: frechet_distance(covariance.sum(0), square, covariance.sum(0), 2 * square), 0)


@given(odd(widths=(0, 1, 3)), st.integers(-1, 12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_inception_scores(values: Tensor, splits: int, distributions: bool) -> None:
    if distributions and values.is_floating_point() and values.ndim:
        values = values.softmax(-1)
    finite_or_told(lambda: inception_score(values, splits=splits), 0)


@given(odd(widths=(1, 4)), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_choices_among_vectors(vectors: Tensor, count: int) -> None:
    if vectors.ndim != 2 or not vectors.is_floating_point() or len(vectors) < count:
        return
    group, valid = vectors[None], torch.ones(1, len(vectors), dtype=torch.bool)
    for choose in (herding, k_center):
        finite_or_told(lambda choose=choose: choose(group, valid, count), 0, len(vectors) - 1)
    if vectors.dtype != torch.float16:  # distances of half precision are not made on a CPU
        finite_or_told(lambda: k_means(group, valid, count, stream(0, "k-means"))[1], 0, count - 1)
        finite_or_told(lambda: nearest_members(group, valid, group[:, :count]), 0, len(vectors) - 1)
    finite_or_told(lambda: inclusion_probabilities(vectors.abs().T, count), 0, 1 + 1e-9)


any_number = st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 1e300]))


@given(st.lists(st.tuples(any_number, any_number), max_size=8))
@settings(max_examples=150, deadline=None)
def test_rankings(pairs: list[tuple[float, float]]) -> None:
    scores, truth = ({str(place): pair[side] for place, pair in enumerate(pairs)} for side in (0, 1))
    with np.errstate(all="ignore"):
        finite_or_told(lambda: ranking(scores, truth, resamples=20))


@given(any_number, any_number, any_number, any_number, any_number)
@settings(max_examples=150, deadline=None)
def test_robust_scores(a: float, b: float, c: float, d: float, weight: float) -> None:
    finite_or_told(lambda: squashed(a), 0, 1)
    for score in (label_robust_score, augmentation_robust_score):
        finite_or_told(lambda score=score: score(a, b, c, d, weight), 0, 1)
        finite_or_told(lambda score=score: score(abs(a) % 1, abs(b) % 1, abs(c) % 1, abs(d) % 1, 0.5), 0, 1)


def test_one_value_that_is_not_finite_is_named() -> None:
    """What was 0.0, the best of all distances, and a plausible precision."""
    x = torch.randn(876, 64, generator=stream(0, "x"))
    y = x.clone()
    y[0, 0] = torch.nan
    for score in (frechet_distance_from_features, kernel_distance, neighbour_scores):
        for pair in ((x, y), (y, x)):
            with pytest.raises(UserError, match="holds values that are NaN or infinite"):
                score(*pair)
    few = y[:20]
    with pytest.raises(UserError, match="NaN or infinite"):
        frechet_distance_from_features(few, x)
    with pytest.raises(UserError, match="'covariance' holds values that are NaN"):
        frechet_distance(x.mean(0), torch.full((64, 64), torch.nan), x.mean(0), torch.eye(64))
    probabilities = torch.full((4, 2), 0.5)
    probabilities[1, 0] = torch.nan
    with pytest.raises(UserError, match="'probabilities' holds values that are NaN"):
        inception_score(probabilities)


def test_numbers_of_any_type_are_numbers() -> None:
    whole = torch.randint(0, 9, (30, 3), generator=stream(0, "whole"))
    other = torch.randint(0, 9, (25, 3), generator=stream(1, "whole"))
    for score in (frechet_distance_from_features, kernel_distance, neighbour_scores):
        expected = list(numbers(score(whole.double(), other.double())))
        for dtype in (torch.uint8, torch.int64, torch.float16, torch.float32, torch.bfloat16):
            assert list(numbers(score(whole.to(dtype), other.to(dtype)))) == pytest.approx(expected)


def test_features_may_want_gradients_and_must_be_tensors() -> None:
    x, y = (torch.randn(20, 3, generator=stream(place, "wanted")) for place in range(2))
    for score in (frechet_distance_from_features, kernel_distance, neighbour_scores):
        assert list(numbers(score(x.clone().requires_grad_(), y))) == list(numbers(score(x, y)))
        for odd in (x.numpy(), x.tolist()):
            with pytest.raises(UserError, match="needs tensors"):
                score(odd, y)
