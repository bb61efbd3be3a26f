"""What every score asks of the features that it is given."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.finite import check_finite

LARGEST = 1e20
"""Features beyond this are no features; the third powers and squares of what they give would not fit a float64."""

ADVICE = "look at the images and at the extractor that made them"


def check_matrix(name: str, features: Tensor, least: int = 2) -> Tensor:
    """Return features (N, D) as float64, or refuse them by name.

    Args:
        name: What they are called.
        features: Whole or real numbers of any type.
        least: Rows that are needed.

    Raises:
        UserError: No matrix, too few rows, no column, values that are complex, not finite or beyond 1e20.
    """
    if features.ndim != 2 or len(features) < least or not features.shape[1] or features.is_complex():
        raise UserError(
            f"{name} must be real numbers of shape (N, D) with N at least {least} and D at least 1, got shape "
            f"{tuple(features.shape)}"
        )
    features = check_finite(name, features.detach(), ADVICE).to(torch.float64)
    if max(-float(features.min()), float(features.max())) > LARGEST:
        raise UserError(f"'{name}' holds values beyond {LARGEST:g}, of which no score can be computed; scale them down")
    return features


def check_same_width(
    score: str, first: Tensor, second: Tensor, names: tuple[str, str] = ("first", "second")
) -> tuple[Tensor, Tensor]:
    """Return two sets of features as float64, or refuse what cannot be compared.

    Args:
        score: What they are for.
        first: (N, D), N at least 2.
        second: (M, D), M at least 2.
        names: What the two are called.

    Raises:
        UserError: See :func:`check_matrix`, or the widths differ.
    """
    for name, features in zip(names, (first, second), strict=True):
        if not isinstance(features, Tensor):
            raise UserError(
                f"{score} needs tensors, '{name}' is a {type(features).__name__}; torch.as_tensor makes one"
            )
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise UserError(
            f"{score} needs features (N, D) and (M, D) of one width, got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if min(len(first), len(second)) < 2:
        raise UserError(f"{score} needs at least 2 images on each side, got {len(first)} and {len(second)}")
    return check_matrix(names[0], first), check_matrix(names[1], second)
