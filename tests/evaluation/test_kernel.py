"""KID against a slow double loop and a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation import kernel
from gendistill.evaluation.kernel import kernel_distance
from gendistill.seeds import stream


def features(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=stream(seed, "features"), dtype=torch.float64) + 0.2 * seed


def slow(first: Tensor, second: Tensor) -> float:
    """The unbiased estimate, pair by pair. Eq. (4) of Binkowski et al. 2018."""

    def k(x: Tensor, y: Tensor) -> float:
        return (float(x @ y) / len(x) + 1) ** 3

    n, m = len(first), len(second)
    within1 = sum(k(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within2 = sum(k(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(k(x, y) for x in first for y in second) / (n * m)
    return within1 + within2 - 2 * between


def test_whole_sets_equal_the_double_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "ROWS", 5)
    first, second = features(12, 4, 0), features(17, 4, 1)
    result = kernel_distance(first, second, stream(0, "s"), subsets=3, subset_size=1000)
    assert result["value"] == pytest.approx(slow(first, second), rel=1e-12)
    assert result["subset_size"] == 12


def test_subsets_equal_the_double_loop_over_the_same_draws() -> None:
    first, second = features(12, 4, 0), features(17, 4, 1)
    result = kernel_distance(first, second, stream(0, "s"), subsets=4, subset_size=6)
    generator = stream(0, "s")
    chosen = [first[torch.randperm(12, generator=generator)[:6]] for _ in range(4)]
    other = [second[torch.randperm(17, generator=generator)[:6]] for _ in range(4)]
    expected = torch.tensor([slow(a, b) for a, b in zip(chosen, other, strict=True)], dtype=torch.float64)
    assert result["mean"] == pytest.approx(float(expected.mean()), rel=1e-12)
    assert result["std"] == pytest.approx(float(expected.std()), rel=1e-10)


def test_two_points() -> None:
    """Sets of two equal points at 0 and at c: 1 + (c² + 1)³ - 2 in one dimension."""
    result = kernel_distance(torch.zeros(2, 1), torch.full((2, 1), 2.0), stream(0, "s"), subsets=2, subset_size=2)
    assert result["value"] == result["mean"] == pytest.approx(1 + 5**3 - 2)
    assert result["std"] == 0


def test_unbiased_around_zero_for_one_distribution() -> None:
    drawn = torch.randn(400, 20, 3, generator=stream(1, "many"), dtype=torch.float64)
    values = [kernel_distance(x[:10], x[10:], stream(0, "s"), subsets=1)["value"] for x in drawn]
    estimate = torch.tensor(values)
    assert abs(float(estimate.mean())) < 3 * float(estimate.std()) / 400**0.5
    assert min(values) < 0 < max(values)


@pytest.mark.parametrize(
    "first,second,options,sentence",
    [
        ((5, 3), (5, 4), {}, "KID needs features"),
        ((1, 3), (5, 3), {}, "at least 2 images on each side"),
        ((5, 3), (5, 3), {"subset_size": 1}, "at least 1 subset of at least 2"),
        ((5, 3), (5, 3), {"subsets": 0}, "at least 1 subset of at least 2"),
    ],
)
def test_bad_input(first: tuple[int, int], second: tuple[int, int], options: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        kernel_distance(torch.zeros(first), torch.zeros(second), stream(0, "s"), **options)
