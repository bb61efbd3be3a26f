"""The Inception Score: how sure a classifier is of each image, and how evenly the classes come."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation.checks import ADVICE
from gendistill.finite import check_finite

IMAGES_PER_SPLIT = 100
"""A split with few images scores too low, for it cannot show all classes; small sets get fewer splits instead."""


def inception_score(probabilities: Tensor, *, splits: int = 10) -> dict[str, Any]:
    """Return ``exp(mean KL(p(y|x) ‖ p(y)))`` as mean and standard deviation over splits.

    From 1 (every image looks alike to the classifier) to K (sure of every image, all classes equally often).
    Eq. (1), Salimans et al. 2016.

    Args:
        probabilities: (N, K) class probabilities of images in random order: splits are runs of neighbours.
        splits: Number of splits; small sets get fewer, so that each has at least 100 images.

    Returns:
        ``mean``, ``std`` (over N splits, not N - 1, as published; None with one split) and ``splits`` as used.

    Raises:
        UserError: No probabilities, or rows that are not distributions.
    """
    return summary(split_scores(probabilities, splits)[None])


def split_scores(probabilities: Tensor, splits: int) -> Tensor:
    """Return the score of each split (S,); see :func:`inception_score`."""
    if probabilities.ndim != 2 or not probabilities.numel() or probabilities.is_complex() or splits < 1:
        raise UserError(
            f"an Inception Score needs probabilities (N, K) of at least one image and at least one split, got shape "
            f"{tuple(probabilities.shape)} and {splits} splits"
        )
    probabilities = check_finite("probabilities", probabilities, ADVICE).to(torch.float64)
    if bool((probabilities < 0).any()) or not bool(((probabilities.sum(1) - 1).abs() < 1e-3).all()):
        raise UserError("an Inception Score needs rows of class probabilities that sum to one; apply a softmax first")
    splits = max(1, min(splits, len(probabilities) // IMAGES_PER_SPLIT))
    return torch.stack([_score(part) for part in probabilities.tensor_split(splits)])


def summary(scores: Tensor) -> dict[str, Any]:
    """Return mean and spread of the scores (draws, splits) of one or several draws of a teacher's images."""
    spread = float(scores.std(unbiased=False)) if scores.numel() > 1 else None
    return {"mean": float(scores.mean()), "std": spread, "splits": scores.shape[1]}


def _score(probabilities: Tensor) -> Tensor:
    marginal = probabilities.mean(0)
    # xlogy makes 0 log 0 = 0.
    information = torch.special.xlogy(probabilities, probabilities) - torch.special.xlogy(probabilities, marginal)
    return information.sum(1).mean().exp()
