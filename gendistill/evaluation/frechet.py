"""The Fréchet distance between two Gaussians, in float64, by the numerically best route for the shapes at hand.

``d² = |mu1 - mu2|² + Tr(S1) + Tr(S2) - 2 Tr((S1 S2)^(1/2))``, Eq. (6) of Heusel et al. 2017 (Dowson and Landau 1982).

Only the last term is difficult. With any factors ``S1 = F1 F1ᵀ`` and ``S2 = F2 F2ᵀ`` it is the sum of the singular
values of ``F1ᵀ F2``: real and non-negative whatever the rank, so that neither a complex root nor a jitter on the
diagonal is ever needed. The factors come from Cholesky when the covariance is positive definite, else from its
eigenvectors, and, when there are no more samples than dimensions, from the centred features themselves, whose spectrum
is then never squared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the unbiased covariance (D, D), float64, of features (N, D), N at least 2."""
    if features.ndim != 2 or len(features) < 2:
        raise UserError(f"a covariance needs features of shape (N, D) with N at least 2, got {tuple(features.shape)}")
    features = features.to(torch.float64)
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> float:
    """Return the squared Fréchet distance between two Gaussians given by their moments.

    Args:
        mu1: (D,) mean of the first.
        sigma1: (D, D) covariance of the first, symmetric positive semi-definite.
        mu2: (D,) mean of the second.
        sigma2: (D, D) covariance of the second.

    Raises:
        UserError: The shapes do not belong together.
    """
    dimension = len(mu1)
    if mu2.shape != (dimension,) or sigma1.shape != (dimension, dimension) or sigma2.shape != sigma1.shape:
        raise UserError(
            f"the two Gaussians must have one dimension, got means {tuple(mu1.shape)}, {tuple(mu2.shape)} and "
            f"covariances {tuple(sigma1.shape)}, {tuple(sigma2.shape)}"
        )
    mu1, sigma1, mu2, sigma2 = (value.to(torch.float64) for value in (mu1, sigma1, mu2, sigma2))
    lower1, lower2 = _cholesky(sigma1), _cholesky(sigma2)
    if lower1 is not None and lower2 is not None:
        # At full rank the symmetric eigenproblem is several times faster than singular values and as good.
        trace = torch.linalg.eigvalsh(lower1.T @ sigma2 @ lower1).clamp_(min=0).sqrt().sum()
    else:
        factor1 = lower1 if lower1 is not None else _eigenfactor(sigma1)
        factor2 = lower2 if lower2 is not None else _eigenfactor(sigma2)
        trace = _trace_of_root(factor1, factor2)
    return _assemble(mu1 - mu2, sigma1.trace() + sigma2.trace(), trace)


def frechet_distance_from_features(first: Tensor, second: Tensor) -> float:
    """Return the squared Fréchet distance between the Gaussians fitted to two sets of features.

    With more samples than dimensions on both sides the moments are used. Otherwise the covariance of the smaller set is
    singular, and its centred features serve as its factor.

    Args:
        first: (N, D) features, N at least 2.
        second: (M, D) features, M at least 2.

    Raises:
        UserError: The widths differ or a set has fewer than 2 samples.
    """
    _check_widths(first, second)
    if min(len(first), len(second)) > first.shape[1]:
        return frechet_distance(*moments(first), *moments(second))
    mean1, factor1 = _feature_factor(first)
    mean2, factor2 = _feature_factor(second)
    return _assemble(mean1 - mean2, factor1.square().sum() + factor2.square().sum(), _trace_of_root(factor1, factor2))


def frechet_distance_to_moments(features: Tensor, mu: Tensor, sigma: Tensor) -> float:
    """Return the squared Fréchet distance between features (N, D) and stored moments (D,), (D, D)."""
    _check_widths(features, sigma)
    if len(features) > features.shape[1]:
        return frechet_distance(*moments(features), mu, sigma)
    mean, factor = _feature_factor(features)
    sigma = sigma.to(torch.float64)
    lower = _cholesky(sigma)
    trace = _trace_of_root(factor, lower if lower is not None else _eigenfactor(sigma))
    return _assemble(mean - mu.to(torch.float64), factor.square().sum() + sigma.trace(), trace)


def _check_widths(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise UserError(
            f"two sets of features must be (N, D) and (M, D), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if min(len(first), len(second)) < 2:
        raise UserError(f"a Fréchet distance needs at least 2 images on each side, got {len(first)} and {len(second)}")


def _assemble(difference: Tensor, traces: Tensor, trace_of_root: Tensor) -> float:
    # Rounding may leave a distance of zero at -1e-13; a squared distance is never negative.
    return max(0.0, float(difference.square().sum() + traces - 2 * trace_of_root))


def _trace_of_root(factor1: Tensor, factor2: Tensor) -> Tensor:
    """Tr((S1 S2)^(1/2)) from S1 = F1 F1ᵀ (D, R1) and S2 = F2 F2ᵀ (D, R2)."""
    return torch.linalg.svdvals(factor1.T @ factor2).sum()


def _feature_factor(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and a factor (D, min(N, D)) of the covariance, without forming the covariance."""
    features = features.to(torch.float64)
    mean = features.mean(0)
    rows = (features - mean) / (len(features) - 1) ** 0.5
    if len(rows) > rows.shape[1]:
        rows = torch.linalg.qr(rows, mode="r").R
    return mean, rows.T


def _cholesky(sigma: Tensor) -> Tensor | None:
    """Lower factor (D, D), or None when sigma is not positive definite.

    Rounding lets a matrix with one or two null directions pass. That is as well: each puts an error of about
    sqrt(1e-16) of its size into the root, which the entries of the matrix leave open anyway.
    """
    lower, info = torch.linalg.cholesky_ex(sigma)
    return lower if int(info) == 0 else None


def _eigenfactor(sigma: Tensor) -> Tensor:
    """Factor (D, R) of a singular covariance from its R eigenvalues above rounding."""
    values, vectors = torch.linalg.eigh(sigma)
    # A thousand null directions would add a thousand roots of noise.
    keep = values > values[-1] * len(sigma) * torch.finfo(torch.float64).eps
    return vectors[:, keep] * values[keep].sqrt()
