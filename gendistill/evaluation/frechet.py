"""The Fréchet distance between two Gaussians, in float64, by the numerically best route for the shapes at hand.

``d² = |mu1 - mu2|² + Tr(S1) + Tr(S2) - 2 Tr((S1 S2)^(1/2))``, Eq. (6) of Heusel et al. 2017 (Dowson and Landau 1982).

Only the last term is difficult. With any factors ``S1 = F1 F1ᵀ`` and ``S2 = F2 F2ᵀ`` it is the sum of the singular
values of ``F1ᵀ F2``: real and non-negative whatever the rank, so that neither a complex root nor a jitter on the
diagonal is ever needed. The factors come from Cholesky when the covariance is positive definite, else from its
eigenvectors, and, when there are no more samples than dimensions, from the centred features themselves, whose spectrum
is then never squared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation.checks import ADVICE, LARGEST, check_matrix, check_same_width
from gendistill.finite import check_finite

UNEQUAL = 1e-5
"""How far apart, by the largest entry, two entries of a covariance that must be equal may be: rounded ones are."""

NEGATIVE = 1e-3
"""How far below 0, by the largest one, an eigenvalue may be: entries stored in half precision are no better."""


@dataclass(frozen=True)
class Gaussian:
    """One side of a distance, with the factor of its covariance ready for any number of other sides.

    Attributes:
        mean: (D,) float64.
        trace: Of the covariance S.
        factor: (D, R), S = F Fᵀ.
        covariance: (D, D), None unless it is positive definite; the factor is then that of Cholesky.
    """

    mean: Tensor
    trace: Tensor
    factor: Tensor
    covariance: Tensor | None = None

    @classmethod
    def of_moments(cls, mean: Tensor, covariance: Tensor) -> Gaussian:
        """Return the Gaussian of a mean (D,) and a covariance (D, D), symmetric positive semi-definite.

        Raises:
            UserError: Shapes that do not belong together, values that are not finite or too large, or a matrix that is
                no covariance.
        """
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or not len(mean):
            raise UserError(
                f"a Gaussian has a mean (D,) and a covariance (D, D), got {tuple(mean.shape)} and "
                f"{tuple(covariance.shape)}"
            )
        mean = check_finite("mean", mean.detach(), ADVICE).to(torch.float64)
        covariance = check_finite("covariance", covariance.detach(), ADVICE).to(torch.float64)
        largest = float(covariance.abs().max())
        if float(mean.abs().max()) > LARGEST or largest > LARGEST**2:
            raise UserError(
                f"'mean' holds values beyond {LARGEST:g}, or 'covariance' beyond its square; scale them down"
            )
        if float((covariance - covariance.T).abs().max()) > UNEQUAL * largest:
            raise UserError("'covariance' is not symmetric, so that it is none; give that of the features")
        lower = _cholesky(covariance)
        if lower is not None:
            return cls(mean, covariance.trace(), lower, covariance)
        return cls(mean, covariance.trace(), _eigenfactor(covariance))

    @classmethod
    def of_features(cls, features: Tensor) -> Gaussian:
        """Return the Gaussian fitted to features (N, D), N at least 2.

        With no more features than dimensions, or with features that span no more, the centred features themselves
        serve as the factor.

        Raises:
            UserError: Too few features, or values that are not finite.
        """
        features = check_matrix("features", features)
        if len(features) > features.shape[1]:
            mean, covariance = moments(features)
            lower = _cholesky(covariance)
            if lower is not None:
                return cls(mean, covariance.trace(), lower, covariance)
        mean, factor = _feature_factor(features)
        return cls(mean, factor.square().sum(), factor)

    def distance(self, other: Gaussian) -> float:
        """Return the squared Fréchet distance.

        Raises:
            UserError: The dimensions differ, or the distance is too large for a number.
        """
        if self.mean.shape != other.mean.shape:
            raise UserError(
                f"the two Gaussians must have one dimension, got {len(self.mean)} and {len(other.mean)} values"
            )
        if self.covariance is not None and other.covariance is not None:
            # At full rank the symmetric eigenproblem is several times faster than singular values and as good.
            product = self.factor.T @ other.covariance @ self.factor
            root = torch.linalg.eigvalsh(product).clamp_(min=0).sqrt().sum()
        else:
            root = torch.linalg.svdvals(self.factor.T @ other.factor).sum()
        value = float((self.mean - other.mean).square().sum() + self.trace + other.trace - 2 * root)
        if not math.isfinite(value):
            raise UserError("a Fréchet distance of values this large is no number any more; scale the features down")
        # Rounding may leave a distance of zero at -1e-13; a squared distance is never negative.
        return max(0.0, value)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the unbiased covariance (D, D), float64, of features (N, D), N at least 2.

    Raises:
        UserError: Too few features, or values that are not finite.
    """
    features = check_matrix("features", features)
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
        UserError: The shapes do not belong together, a value is not finite, or a matrix is no covariance.
    """
    return Gaussian.of_moments(mu1, sigma1).distance(Gaussian.of_moments(mu2, sigma2))


def frechet_distance_from_features(first: Tensor, second: Tensor) -> float:
    """Return the squared Fréchet distance between the Gaussians fitted to two sets of features.

    Args:
        first: (N, D) features, N at least 2.
        second: (M, D) features, M at least 2.

    Raises:
        UserError: The widths differ, a set has fewer than 2 samples, or a value is not finite.
    """
    first, second = check_same_width("a Fréchet distance", first, second)
    return Gaussian.of_features(first).distance(Gaussian.of_features(second))


def frechet_distance_to_moments(features: Tensor, mu: Tensor, sigma: Tensor) -> float:
    """Return the squared Fréchet distance between features (N, D) and stored moments (D,), (D, D)."""
    return Gaussian.of_features(features).distance(Gaussian.of_moments(mu, sigma))


def _feature_factor(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and a factor (D, min(N, D)) of the covariance, without forming the covariance."""
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
    if float(values[0]) < -NEGATIVE * float(values.abs().max()):
        # Left out, such a direction would make the distance smaller, down to 0.
        raise UserError(
            f"'covariance' has an eigenvalue of {float(values[0]):.3g}, and a covariance has none below 0; give "
            "that of the features"
        )
    # A thousand null directions would add a thousand roots of noise.
    keep = values > values[-1] * len(sigma) * torch.finfo(torch.float64).eps
    return vectors[:, keep] * values[keep].sqrt()
