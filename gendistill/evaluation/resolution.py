"""How finely accuracies can be told apart, read from the accuracies themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_IMAGES = 20_000
"""Test images that are looked for, at most; a coarser grid that fits as well is the cautious answer."""


def resolution(values: Sequence[float]) -> float:
    """Return the widest step 1/N of which all accuracies are multiples, 0 where there is none.

    Accuracies on N images are such multiples. A result of an older version does not say N.

    Args:
        values: Fractions.
    """
    distinct = np.unique(np.asarray(values, dtype=np.float64))
    if not len(distinct):
        return 0.0
    fits = np.arange(1, MOST_IMAGES + 1, dtype=np.float64)
    for value in distinct:
        scaled = value * fits
        fits = fits[np.abs(scaled - np.round(scaled)) <= 1e-6]
        if not len(fits):
            return 0.0
    return float(1 / fits[0])
