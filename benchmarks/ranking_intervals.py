"""How often the 95 % intervals of a ranking's correlations hold the true correlation, by the number of architectures.

Not a matter of time. Scores and truths are drawn from a bivariate normal distribution, whose rank correlations are
known: Spearman's is ``6/pi arcsin(r/2)``, Kendall's ``2/pi arcsin(r)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gendistill.evaluation.ranking import ranking

THREADS = 1


def measure(
    counts: Sequence[int] = (5, 10, 20, 50),
    correlations: Sequence[float] = (0.0, 0.5, 0.9),
    repetitions: int = 400,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Measure each number of architectures.

    Args:
        counts: Architectures of a study.
        correlations: Pearson's, of the normal distribution.
        repetitions: Studies.
        resamples: Bootstrap resamples of each.

    Returns:
        By number of architectures and true Spearman correlation, the share of studies whose interval holds the truth.
    """
    generator = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for count in counts:
        for correlation in correlations:
            true = {
                "spearman": 6 / math.pi * math.asin(correlation / 2),
                "kendall": 2 / math.pi * math.asin(correlation),
            }
            held = dict.fromkeys(true, 0)
            for turn in range(repetitions):
                score = generator.normal(size=count)
                truth = correlation * score + math.sqrt(1 - correlation**2) * generator.normal(size=count)
                pair = ({str(place): float(value) for place, value in enumerate(values)} for values in (score, truth))
                result = ranking(*pair, resamples=resamples, seed=turn, fewest=3)["all"]
                for name, value in true.items():
                    held[name] += result[name]["low"] <= value <= result[name]["high"]
            shares = {name: number / repetitions for name, number in held.items()}
            found[f"{count} architectures, Spearman {true['spearman']:.2f}"] = shares
    return {"confidence": 0.95, "repetitions": repetitions, "held": found}
