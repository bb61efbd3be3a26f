"""The Inception Score: how sure a classifier is of each image, and how evenly the classes come."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError

IMAGES_PER_SPLIT = 100
"""A split with few images scores too low, for it cannot show all classes; small sets get fewer splits instead."""


def inception_score(probabilities: Tensor, *, splits: int = 10) -> dict[str, float]:
    """Return ``exp(mean KL(p(y|x) ‖ p(y)))`` as mean and standard deviation over splits.

    From 1 (every image looks alike to the classifier) to K (sure of every image, all classes equally often).
    Eq. (1), Salimans et al. 2016.

    Args:
        probabilities: (N, K) class probabilities of images in random order: splits are runs of neighbours.
        splits: Number of splits; small sets get fewer, so that each has at least 100 images.

    Returns:
        ``mean``, ``std`` (0 with one split) and ``splits`` as used.

    Raises:
        UserError: No probabilities, or rows that are not distributions.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0 or splits < 1:
        raise UserError(
            f"an Inception Score needs probabilities (N, K) of at least one image and at least one split, got shape "
            f"{tuple(probabilities.shape)} and {splits} splits"
        )
    probabilities = probabilities.to(torch.float64)
    if bool((probabilities < 0).any()) or not bool(((probabilities.sum(1) - 1).abs() < 1e-3).all()):
        raise UserError("an Inception Score needs rows of class probabilities that sum to one; apply a softmax first")
    splits = max(1, min(splits, len(probabilities) // IMAGES_PER_SPLIT))
    scores = torch.stack([_score(part) for part in probabilities.tensor_split(splits)])
    return {"mean": float(scores.mean()), "std": float(scores.std(unbiased=False)), "splits": splits}


def _score(probabilities: Tensor) -> Tensor:
    marginal = probabilities.mean(0)
    # xlogy makes 0 log 0 = 0.
    information = torch.special.xlogy(probabilities, probabilities) - torch.special.xlogy(probabilities, marginal)
    return information.sum(1).mean().exp()
