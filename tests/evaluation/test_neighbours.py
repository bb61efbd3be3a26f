"""Precision, recall, density and coverage against loops written from the definitions."""

from __future__ import annotations

import math

import pytest
import torch
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
