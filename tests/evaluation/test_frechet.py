"""The Fréchet distance against closed forms, a slow root and pytorch-fid, at full rank and below."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation.frechet import (
    frechet_distance,
    frechet_distance_from_features,
    frechet_distance_to_moments,
    moments,
)


def random_features(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    noise = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return (noise @ mixing).relu() + 0.1 * seed


def orthogonal(width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q


def by_scipy(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> float:
    root = scipy.linalg.sqrtm((sigma1 @ sigma2).numpy())
    return float((mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace()) - 2 * float(np.trace(root).real)


def test_moments_are_those_of_numpy() -> None:
    features = random_features(50, 7, 1)
    mean, covariance = moments(features.float())
    assert mean.dtype == covariance.dtype == torch.float64
    np.testing.assert_allclose(covariance, np.cov(features.float().double().numpy(), rowvar=False), rtol=1e-12)
    np.testing.assert_allclose(mean, features.float().double().numpy().mean(0), rtol=1e-12)


def test_equal_gaussians_are_at_distance_zero() -> None:
    mean, covariance = moments(random_features(200, 30, 1))
    assert frechet_distance(mean, covariance, mean, covariance) < 1e-10
    assert frechet_distance(mean, covariance, mean + 2, covariance) == pytest.approx(30 * 4, rel=1e-12)


@pytest.mark.parametrize(
    "mean,other,std,other_std", [(0.0, 3.0, 1.0, 2.5), (-1.0, 1.0, 0.3, 0.0), (2.0, 2.0, 4.0, 1.0)]
)
def test_one_dimension(mean: float, other: float, std: float, other_std: float) -> None:
    def gaussian(m: float, s: float) -> tuple[Tensor, Tensor]:
        return torch.tensor([m], dtype=torch.float64), torch.tensor([[s * s]], dtype=torch.float64)

    expected = (mean - other) ** 2 + (std - other_std) ** 2
    assert frechet_distance(*gaussian(mean, std), *gaussian(other, other_std)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rank", [24, 10])
def test_commuting_covariances(rank: int) -> None:
    """With common eigenvectors the distance is that of the standard deviations; also when both are singular."""
    width = 24
    basis = orthogonal(width, 3)
    generator = torch.Generator().manual_seed(4)
    first, second = 0.1 + torch.rand(2, width, generator=generator, dtype=torch.float64)
    first[rank:] = 0
    second[: width - rank] = 0
    mean = torch.zeros(width, dtype=torch.float64)
    value = frechet_distance(mean, basis * first @ basis.T, mean + 1, basis * second @ basis.T)
    expected = width + float((first.sqrt() - second.sqrt()).square().sum())
    assert value == pytest.approx(expected, rel=1e-9)


def test_orthogonal_supports_add_their_traces() -> None:
    """Two singular Gaussians that share no direction: the root vanishes. Known without any eigenvalue."""
    features = torch.zeros(40, 30, dtype=torch.float64)
    other = torch.zeros(25, 30, dtype=torch.float64)
    features[:, :10] = random_features(40, 10, 1)
    other[:, 20:] = random_features(25, 10, 2)
    mean1, sigma1 = moments(features)
    mean2, sigma2 = moments(other)
    expected = float((mean1 - mean2).square().sum() + sigma1.trace() + sigma2.trace())
    assert frechet_distance(mean1, sigma1, mean2, sigma2) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance_from_features(features, other) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count,other_count", [(300, 200), (300, 20), (20, 300), (25, 15)])
def test_all_routes_agree(count: int, other_count: int) -> None:
    features, other = random_features(count, 60, 1), random_features(other_count, 60, 2)
    by_features = frechet_distance_from_features(features, other)
    by_moments = frechet_distance(*moments(features), *moments(other))
    assert frechet_distance_to_moments(features, *moments(other)) == pytest.approx(by_features, rel=1e-7)
    assert by_moments == pytest.approx(by_features, rel=1e-7)
    assert by_scipy(*moments(features), *moments(other)) == pytest.approx(by_features, rel=1e-4)
    assert frechet_distance_from_features(other, features) == pytest.approx(by_features, rel=1e-9)


def test_all_routes_agree_for_two_images_a_side() -> None:
    """Both covariances have rank one, where scipy's root fails and a closed form exists: S = c cᵀ gives |c1·c2|."""
    features, other = random_features(2, 60, 1), random_features(2, 60, 2)
    first, second = ((pair[0] - pair[1]) / 2**0.5 for pair in (features, other))
    means = (features.mean(0) - other.mean(0)).square().sum()
    expected = float(means + first.square().sum() + second.square().sum() - 2 * (first @ second).abs())
    assert frechet_distance_from_features(features, other) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(*moments(features), *moments(other)) == pytest.approx(expected, rel=1e-7)
    assert frechet_distance_to_moments(features, *moments(other)) == pytest.approx(expected, rel=1e-7)


def test_rank_deficient_features_against_a_small_problem() -> None:
    """Few samples in many dimensions: rotated into the subspace that they span, the problem has full rank."""
    width, rank = 50, 6
    small, small_other = random_features(40, rank, 1), random_features(45, rank, 2)
    embedding = orthogonal(width, 5)[:rank]
    expected = frechet_distance(*moments(small), *moments(small_other))
    lifted, other = small @ embedding, small_other @ embedding
    assert frechet_distance_from_features(lifted, other) == pytest.approx(expected, rel=1e-11)
    assert frechet_distance(*moments(lifted), *moments(other)) == pytest.approx(expected, rel=1e-7)


def test_many_null_directions_add_no_noise() -> None:
    """A covariance of rank 5 in 200 dimensions: the 195 others must not each add the root of a rounding error."""
    width, rank = 200, 5
    spectrum = torch.zeros(width, dtype=torch.float64)
    spectrum[:rank] = torch.linspace(1, 2, rank, dtype=torch.float64)
    basis = orthogonal(width, 7)
    sigma = basis * spectrum @ basis.T
    sigma = (sigma + sigma.T) / 2
    mean = torch.zeros(width, dtype=torch.float64)
    expected = float((spectrum.sqrt() - 1).square().sum())
    value = frechet_distance(mean, sigma, mean, torch.eye(width, dtype=torch.float64))
    assert value == pytest.approx(expected, abs=1e-11)


def test_singular_covariances_that_rounding_hides() -> None:
    """The last pivot of a singular matrix is noise of either sign: sometimes Cholesky goes through, sometimes not."""
    width, rank = 12, 11
    spectrum = torch.linspace(1, 2, width, dtype=torch.float64)
    spectrum[rank:] = 0
    mean = torch.zeros(width, dtype=torch.float64)
    identity = torch.eye(width, dtype=torch.float64)
    expected = float((spectrum.sqrt() - 1).square().sum())
    accepted = 0
    for seed in range(20):
        basis = orthogonal(width, seed)
        sigma = basis * spectrum @ basis.T
        sigma = (sigma + sigma.T) / 2
        accepted += int(torch.linalg.cholesky_ex(sigma).info == 0)
        assert frechet_distance(mean, sigma, mean, identity) == pytest.approx(expected, abs=1e-7)
    assert 0 < accepted < 20


@pytest.mark.parametrize("count", [300, 30])
def test_agrees_with_pytorch_fid(count: int) -> None:
    if tuple(int(part) for part in scipy.__version__.split(".")[:2]) >= (1, 18):
        pytest.skip("pytorch-fid 0.3.0 calls sqrtm with an argument that SciPy 1.18 removed")
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    first, second = moments(random_features(count, 40, 1)), moments(random_features(count, 40, 2))
    theirs = fid_score.calculate_frechet_distance(*(value.numpy() for value in (*first, *second)))
    assert frechet_distance(*first, *second) == pytest.approx(float(theirs), rel=1e-4 if count < 40 else 1e-9)


def test_shapes_that_do_not_belong_together() -> None:
    mean, covariance = moments(random_features(10, 4, 1))
    other_mean, other_covariance = moments(random_features(10, 5, 1))
    with pytest.raises(UserError, match="one dimension"):
        frechet_distance(mean, covariance, other_mean, other_covariance)
    with pytest.raises(UserError, match="at least 2 images"):
        frechet_distance_from_features(torch.zeros(1, 4), torch.zeros(9, 4))
    with pytest.raises(UserError, match=r"\(N, D\) and \(M, D\)"):
        frechet_distance_from_features(torch.zeros(9, 3), torch.zeros(9, 4))
    with pytest.raises(UserError, match="N at least 2"):
        moments(torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("covariance", "sentence"),
    (
        (-torch.eye(3), "eigenvalue of -1"),
        (torch.diag(torch.tensor([1.0, 1.0, -0.5])), "eigenvalue of -0.5"),
        (torch.tensor([[1.0, 5.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), "not symmetric"),
        (torch.eye(3, dtype=torch.float64) * 1e300, "scale them down"),
    ),
)
def test_a_matrix_that_is_no_covariance_is_refused(covariance: Tensor, sentence: str) -> None:
    """Its negative directions were dropped, and the distance was 0.0, the best there is."""
    zero, one = torch.zeros(3), torch.eye(3)
    for pair in ((covariance, one), (one, covariance)):
        with pytest.raises(UserError, match=sentence):
            frechet_distance(zero, pair[0], zero, pair[1])


@pytest.mark.parametrize("dtype", (torch.float16, torch.float32, torch.float64))
def test_singular_covariances_may_be_stored_in_any_precision(dtype: torch.dtype) -> None:
    features = torch.randn(20, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean, covariance = moments(features)
    mean, covariance = mean.to(dtype), covariance.to(dtype)
    assert frechet_distance(mean, covariance, mean, covariance) == pytest.approx(0, abs=1e-6)
