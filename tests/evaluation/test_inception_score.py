"""The Inception Score against its closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gendistill.errors import UserError
from gendistill.evaluation.inception_score import inception_score
from gendistill.seeds import stream


def test_images_that_all_look_alike_score_one() -> None:
    uniform = torch.full((1000, 7), 1 / 7)
    skewed = torch.tensor([0.9, 0.05, 0.05]).expand(1000, 3)
    for probabilities in (uniform, skewed):
        result = inception_score(probabilities)
        assert result == pytest.approx({"mean": 1, "std": 0, "splits": 10}, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 10])
def test_sure_and_balanced_scores_the_number_of_classes(classes: int) -> None:
    probabilities = F.one_hot(torch.arange(1000) % classes, classes).float()
    assert inception_score(probabilities) == pytest.approx({"mean": classes, "std": 0, "splits": 10}, abs=1e-9)


def test_noisy_channel() -> None:
    """Right with probability p, else spread over the others: log K minus the entropy of a row."""
    classes, p = 5, 0.8
    row = torch.full((classes, classes), (1 - p) / (classes - 1), dtype=torch.float64)
    row.fill_diagonal_(p)
    entropy = -p * math.log(p) - (1 - p) * math.log((1 - p) / (classes - 1))
    result = inception_score(row.repeat(100, 1), splits=1)
    assert result["mean"] == pytest.approx(math.exp(math.log(classes) - entropy), rel=1e-10)


def test_splits_are_runs_of_neighbours() -> None:
    probabilities = torch.rand(730, 4, generator=stream(0, "p"), dtype=torch.float64).pow(4)
    probabilities /= probabilities.sum(1, keepdim=True)
    parts = probabilities.tensor_split(3)
    scores = [math.exp(sum(float((p * (p / part.mean(0)).log()).sum()) for p in part) / len(part)) for part in parts]
    mean = sum(scores) / 3
    result = inception_score(probabilities, splits=3)
    assert result["mean"] == pytest.approx(mean, rel=1e-12)
    assert result["std"] == pytest.approx((sum((s - mean) ** 2 for s in scores) / 3) ** 0.5, rel=1e-9)


@pytest.mark.parametrize("count,splits", [(1, 1), (9, 1), (250, 2), (5000, 10)])
def test_small_sets_get_fewer_splits(count: int, splits: int) -> None:
    result = inception_score(F.one_hot(torch.arange(count) % 3, 3).float())
    assert result["splits"] == splits
    assert math.isfinite(result["mean"])


def test_bad_input() -> None:
    with pytest.raises(UserError, match="at least one image"):
        inception_score(torch.zeros(0, 3))
    with pytest.raises(UserError, match="sum to one"):
        inception_score(torch.randn(20, 3, generator=stream(0, "p")))
