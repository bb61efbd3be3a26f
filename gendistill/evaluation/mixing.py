"""Which of several generators is the best, or how often each should be called: chosen on validation images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.draws import pool
from gendistill.evaluation.frechet import Gaussian, moments
from gendistill.evaluation.statistics import real_statistics
from gendistill.teacher import Teacher

COUNT = 2000
"""Images of each generator that are looked at, at the most."""


def best_member(teachers: Sequence[Teacher], data: RealData, *, seed: int = 0) -> tuple[int, list[float]]:
    """Return the generator whose images lie nearest to the validation images, and all distances.

    Args:
        teachers: Generators, at least one.
        data: The real data; its validation images are looked at.
        seed: Of the draws.

    Returns:
        A number, and the Fréchet distances in the features of the data's classifier, each of as many images.

    Raises:
        UserError: There are fewer than two validation images.
    """
    real, found = _gaussians(teachers, data, seed)
    distances = [Gaussian.of_moments(mean, covariance).distance(real) for mean, covariance in found]
    return int(np.argmin(distances)), distances


def mixture_weights(teachers: Sequence[Teacher], data: RealData, *, seed: int = 0) -> tuple[list[float], float]:
    """Return how often each generator is called in the mixture nearest to the validation images, and its distance.

    The moments of a mixture follow from those of its parts, mean = sum w_i mean_i and covariance = sum w_i
    (covariance_i + mean_i mean_i^T) - mean mean^T, so that no mixture is drawn for it.

    Args:
        teachers: Generators, at least one.
        data: The real data; its validation images are looked at.
        seed: Of the draws.

    Returns:
        Weights that sum to 1, and the Fréchet distance in the features of the data's classifier.

    Raises:
        UserError: There are fewer than two validation images.
    """
    real, found = _gaussians(teachers, data, seed)

    def distance(logits: np.ndarray) -> float:
        return mixed(found, _softmax(logits)).distance(real)

    count = len(teachers)
    # From equal weights, and from each generator nearly alone: the distance need not have one minimum.
    starts = [np.zeros(count), *(3.0 * np.eye(count))]
    best = min((minimize(distance, start, method="Nelder-Mead", options={"maxiter": 100 * count}) for start in starts),
               key=lambda one: one.fun)  # fmt: skip
    return [float(weight) for weight in _softmax(best.x)], float(best.fun)


def mixed(parts: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float]) -> Gaussian:
    """Return the Gaussian with the moments of a mixture.

    Args:
        parts: Mean (D,) and covariance (D, D) of each, float64.
        weights: Of each; they sum to 1.
    """
    mean = sum((weight * one for weight, (one, _) in zip(weights, parts, strict=True)), torch.zeros(()))
    second = sum(
        (weight * (spread + torch.outer(one, one)) for weight, (one, spread) in zip(weights, parts, strict=True)),
        torch.zeros(()),
    )
    return Gaussian.of_moments(mean, second - torch.outer(mean, mean))


def _softmax(logits: np.ndarray) -> list[float]:
    raised = np.exp(logits - logits.max())
    return list(raised / raised.sum())


def _gaussians(teachers: Sequence[Teacher], data: RealData, seed: int) -> tuple[Gaussian, list[tuple[Tensor, Tensor]]]:
    if len(data.validation) < 2:
        raise UserError(f"'{data.description.name}' has no validation images to choose generators by")
    with torch.enable_grad():  # a classifier may have to be trained first
        network = choose_extractor("classifier", data)
    real = real_statistics(data.validation, data.description.normalisation, network)
    count = min(COUNT, max(len(data.train), 2))
    return real.gaussian, [moments(pool(teacher, network, count, 1, seed).features) for teacher in teachers]
