"""Precision, recall, density and coverage against loops written from the definitions."""

from __future__ import annotations

import math
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation import gram
from gendistill.evaluation.neighbours import neighbour_scores
from gendistill.seeds import stream


def slow(real: Tensor, fake: Tensor, nearest: int) -> dict[str, float]:
    def distance(a: Tensor, b: Tensor) -> float:
        return math.dist(a.tolist(), b.tolist())

    def radii(points: Tensor) -> list[float]:
        return [
            sorted(distance(a, b) for j, b in enumerate(points) if j != i)[nearest - 1] for i, a in enumerate(points)
        ]

    real_radii, fake_radii = radii(real), radii(fake)
    balls = [sum(distance(f, r) < radius for r, radius in zip(real, real_radii, strict=True)) for f in fake]
    recalled = [any(distance(f, r) < radius for f, radius in zip(fake, fake_radii, strict=True)) for r in real]
    covered = [any(distance(f, r) < radius for f in fake) for r, radius in zip(real, real_radii, strict=True)]
    return {
        "precision": sum(count > 0 for count in balls) / len(fake),
        "recall": sum(recalled) / len(real),
        "density": sum(balls) / (nearest * len(fake)),
        "coverage": sum(covered) / len(real),
        "nearest": nearest,
        "recall_nearest": nearest,
    }


@pytest.mark.parametrize("nearest", [1, 3, 5])
def test_equals_the_loops(nearest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "VALUES", 7 * 31)
    generator = stream(0, "points")
    real = torch.randn(31, 3, generator=generator) + 100
    fake = 0.7 * torch.randn(23, 3, generator=generator) + 100.8
    result = neighbour_scores(real, fake, nearest=nearest)
    expected = slow(real.double(), fake.double(), nearest)
    assert result == pytest.approx(expected, rel=1e-12)
    assert 0 < expected["precision"] < 1 and 0 < expected["coverage"] < 1


def test_the_same_points_score_one_and_distant_ones_zero() -> None:
    points = torch.randn(50, 4, generator=stream(0, "points"))
    same = neighbour_scores(points, points.clone())
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    assert neighbour_scores(points, points + 1000) == {
        "precision": 0,
        "recall": 0,
        "density": 0,
        "coverage": 0,
        "nearest": 5,
        "recall_nearest": 5,
    }


def test_a_collapsed_teacher_is_precise_without_recall() -> None:
    real = torch.randn(60, 2, generator=stream(0, "points")) * 1000
    collapsed = neighbour_scores(real, real[:1].expand(60, 2))
    assert collapsed["precision"] == 1
    assert collapsed["recall"] == 1 / 60  # the one image that it shows
    assert (collapsed["nearest"], collapsed["recall_nearest"]) == (5, 1)
    assert collapsed["coverage"] < 0.3


def slow_of_different(real: Tensor, fake: Tensor, nearest: int) -> dict[str, float]:
    """The definition where images repeat: neighbours and balls are those of different images."""

    def balls(points: Tensor) -> tuple[list[tuple[float, ...]], list[float], int]:
        different = sorted({tuple(point) for point in points.tolist()})
        used = min(nearest, len(different) - 1)
        radii = [sorted(math.dist(a, b) for b in different if b != a)[used - 1] if used else 0.0 for a in different]
        return different, radii, max(used, 1)

    (real_balls, real_radii, used), (fake_balls, fake_radii, fake_used) = balls(real), balls(fake)

    def inside(point: list[float], centre: tuple[float, ...], radius: float) -> bool:
        return math.dist(point, centre) < radius or tuple(point) == centre

    counts = [
        sum(inside(f, centre, radius) for centre, radius in zip(real_balls, real_radii, strict=True))
        for f in fake.tolist()
    ]
    reach = dict(zip(real_balls, real_radii, strict=True))
    recalled = [
        any(inside(r, centre, radius) for centre, radius in zip(fake_balls, fake_radii, strict=True))
        for r in real.tolist()
    ]
    covered = [any(inside(f, tuple(r), reach[tuple(r)]) for f in fake.tolist()) for r in real.tolist()]
    return {
        "precision": sum(count > 0 for count in counts) / len(fake),
        "recall": sum(recalled) / len(real),
        "density": sum(counts) / (used * len(fake)),
        "coverage": sum(covered) / len(real),
        "nearest": used,
        "recall_nearest": fake_used,
    }


@given(
    st.integers(0, 10_000),
    st.integers(2, 25),
    st.integers(2, 25),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([1, 40, 10_000]),
)
@settings(max_examples=150, deadline=None)
def test_where_images_repeat_the_different_ones_count(
    seed: int, reals: int, fakes: int, size: int, nearest: int, values: int
) -> None:
    """Points on a small lattice, full of copies and ties, in blocks of one row, of some, of all."""
    generator = stream(seed, "lattice")
    real, fake = (torch.randint(0, size, (count, 2), generator=generator).double() for count in (reals, fakes))
    with patch.object(gram, "VALUES", values):
        assert neighbour_scores(real, fake, nearest=nearest) == pytest.approx(slow_of_different(real, fake, nearest))


def test_sets_whose_images_repeat_are_like_those_in_which_they_do_not() -> None:
    real, fake = (torch.randn(40, 3, generator=stream(seed, "points")) for seed in (0, 1))
    once = neighbour_scores(real, fake)
    for times in ((20, 1), (1, 20), (20, 20)):
        repeated = neighbour_scores(real.repeat(times[0], 1), fake.repeat_interleave(times[1], 0))
        assert repeated == pytest.approx(once)
    same = neighbour_scores(real.repeat(20, 1), real.repeat(20, 1))
    assert [same[name] for name in ("precision", "recall", "density", "coverage")] == [1, 1, 1, 1]


def test_copies_that_an_extractor_rounded_differently_are_copies() -> None:
    real = torch.randn(30, 8, generator=stream(0, "points")) + 3
    nearly = real * (1 + 1e-7 * torch.randn(30, 8, generator=stream(1, "points")))
    once = neighbour_scores(real, real[:20])
    assert neighbour_scores(torch.cat((real, nearly)), real[:20]) == pytest.approx(once)


def test_ties_lie_outside_whichever_products_they_come_from() -> None:
    """With parts of the real images as fakes, every ball has real images on its edge."""
    real = torch.randn(200, 16, generator=stream(0, "points"), dtype=torch.float64) + 2
    assert neighbour_scores(real, real)["density"] == 1
    for seed in range(5):
        part = real[torch.randperm(200, generator=stream(seed, "part"))[:83]]
        expected = slow_of_different(real, part, 5)
        assert neighbour_scores(real, part) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1e15])
def test_the_scale_of_features_does_not_matter(scale: float) -> None:
    real, fake = (torch.randn(30, 3, generator=stream(seed, "points"), dtype=torch.float64) for seed in (0, 1))
    assert neighbour_scores(scale * real, scale * fake) == pytest.approx(neighbour_scores(real, fake))


def test_small_sets_lower_the_neighbour() -> None:
    points = torch.randn(3, 2, generator=stream(0, "points"))
    assert neighbour_scores(points, points)["nearest"] == 2
    more = torch.randn(30, 2, generator=stream(1, "points"))
    scores = neighbour_scores(more, points)  # each side by itself: the real balls are those of other teachers
    assert (scores["nearest"], scores["recall_nearest"]) == (5, 2)


def test_bad_input() -> None:
    with pytest.raises(UserError, match="at least 2 images"):
        neighbour_scores(torch.zeros(1, 2), torch.zeros(5, 2))
    with pytest.raises(UserError, match="a score of neighbours needs features"):
        neighbour_scores(torch.zeros(5, 3), torch.zeros(5, 2))
    with pytest.raises(UserError, match="nearest of at least 1"):
        neighbour_scores(torch.zeros(5, 2), torch.zeros(5, 2), nearest=0)
