"""What a synthetic batch must share with a real one: features in random networks, or the gradients that it gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gendistill.errors import UserError

DISTANCES = ("cosine_layerwise", "l2", "mse")


def feature_matching(real: Tensor, synthetic: Tensor) -> Tensor:
    """Return the summed squared distance between the mean features of each class.

    Eq. (6), Zhao & Bilen 2023 ("Dataset Condensation with Distribution Matching"): for every class c,
    ``|| mean_i f(x_ci) - mean_j f(s_cj) ||^2`` for one random network f, summed over classes.

    Args:
        real: (K, R, F) features of R real images for each of K classes.
        synthetic: (K, M, F) features of M synthetic images for each class; M and R may differ.

    Returns:
        A scalar, zero exactly when all class means agree.
    """
    return (real.mean(dim=1) - synthetic.mean(dim=1)).square().sum()


def gradient_distance(
    real: Sequence[Tensor], synthetic: Sequence[Tensor], distance: str = "cosine_layerwise"
) -> Tensor:
    """Return how far two lists of parameter gradients of one network are apart.

    ``cosine_layerwise`` is Eq. (9)-(10) of Zhao, Mopuri & Bilen 2021 ("Dataset Condensation with Gradient Matching"):
    one minus the cosine for every output unit of a layer, summed over units and layers. As in the published code a
    parameter's shape says what it is: vectors do not count, which biases and most normalisations' parameters are; the
    scales of ``nn.LayerNorm((C, H, W))`` have more dimensions and do. ``l2`` is the norm of the whole difference
    (Eq. (4.4), Bradley 2020, with gradients of weights); ``mse`` the sum of its squares.

    Args:
        real: Gradients with respect to each parameter, on real data.
        synthetic: The same on synthetic data, equal shapes.
        distance: One of ``cosine_layerwise``, ``l2``, ``mse``.

    Returns:
        A scalar, zero exactly when the gradients agree (for the cosine: agree in direction).

    Raises:
        UserError: Unknown distance.
    """
    if distance not in DISTANCES:
        raise UserError(f"unknown gradient distance '{distance}'; use one of {', '.join(DISTANCES)}")
    pairs = list(zip(real, synthetic, strict=True))
    if distance == "cosine_layerwise":
        return torch.stack([_one_minus_cosine(a, b) for a, b in pairs if a.ndim > 1]).sum()
    squares = torch.stack([(a - b).square().sum() for a, b in pairs]).sum()
    # The root has no gradient at zero; the smallest normal float keeps it finite there and changes nothing elsewhere.
    return squares if distance == "mse" else (squares + torch.finfo(squares.dtype).tiny).sqrt()


def _one_minus_cosine(real: Tensor, synthetic: Tensor) -> Tensor:
    real, synthetic = real.flatten(1), synthetic.flatten(1)
    product = (real * synthetic).sum(dim=1)
    norms = real.norm(dim=1) * synthetic.norm(dim=1)
    return (1 - product / (norms + 1e-6)).sum()
