"""How well scores tell members from others: the curve, its area, and what is found at few false alarms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

from gendistill.errors import UserError

RATES = (0.01, 0.001)
"""Shares of non-members that may be taken for members."""
CONFIDENCE = 0.95
POINTS = 200
"""Of a curve as it is written down."""


def clopper_pearson(hits: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact interval of a binomial share (Clopper and Pearson 1934)."""
    rest = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(rest, hits, count - hits + 1))
    high = 1.0 if hits == count else float(stats.beta.ppf(1 - rest, hits + 1, count - hits))
    return low, high


def area(members: np.ndarray, others: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return the area under the curve and its interval.

    Args:
        members: (m,) scores, higher where a record looks like a member.
        others: (n,) scores.
        confidence: Of the interval.

    Returns:
        Area, and the ends of its interval, within [0, 1].

    Source:
        DeLong, DeLong, Clarke-Pearson 1988, with mid-ranks as Sun and Xu 2014. Where one score is above all others the
        variance is zero; a share of none in m n pairs then bounds it, m and n taken for the smaller.
    """
    m, n = len(members), len(others)
    together = stats.rankdata(np.concatenate([members, others]))
    own, rest = stats.rankdata(members), stats.rankdata(others)
    found = float((together[:m].sum() - m * (m + 1) / 2) / (m * n))
    above = (together[:m] - own) / n
    below = 1 - (together[m:] - rest) / m
    variance = (above.var(ddof=1) / m if m > 1 else 0.0) + (below.var(ddof=1) / n if n > 1 else 0.0)
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    if variance == 0.0:  # all on one side: what would be seen of so few
        least = clopper_pearson(0, min(m, n))[1]
        return found, max(0.0, found - least), min(1.0, found + least)
    return found, max(0.0, found - reach), min(1.0, found + reach)


def found_at(members: np.ndarray, others: np.ndarray, rate: float) -> dict[str, Any]:
    """Return how many members lie above the threshold that takes at most a share of the others for members.

    Returns:
        ``rate``, ``share`` of members, ``low`` and ``high`` (exact interval), ``others`` above the threshold; shares
        are None where there are fewer others than one in ``1 / rate``, so that the rate cannot be measured.
    """
    allowed = math.floor(rate * len(others))
    if allowed < 1:
        return {"rate": rate, "share": None, "low": None, "high": None, "others": 0}
    # Strictly above the first score that is not allowed: scores that are equal do not count as found.
    threshold = np.sort(others)[::-1][allowed] if allowed < len(others) else -np.inf
    hits = int((members > threshold).sum())
    low, high = clopper_pearson(hits, len(members))
    return {
        "rate": rate,
        "share": hits / len(members),
        "low": low,
        "high": high,
        "others": int((others > threshold).sum()),
    }


def told_apart(members: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Return how well scores tell members from others.

    Args:
        members: (m,) scores of members, higher where a record looks like one.
        others: (n,) scores of records that were not used.

    Returns:
        ``auc`` with ``low`` and ``high``; ``found``, one entry for each of :data:`RATES` (:func:`found_at`); ``curve``:
        ``false`` and ``true`` shares at some thresholds.

    Raises:
        UserError: There are fewer than two of either, or a score is no number.
    """
    members, others = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if min(len(members), len(others)) < 2:
        raise UserError(f"an audit needs at least 2 members and 2 others, not {len(members)} and {len(others)}")
    if not (np.isfinite(members).all() and np.isfinite(others).all()):
        raise UserError("scores of an audit are not finite; the networks that give them have diverged")
    found, low, high = area(members, others)
    places = np.unique(np.geomspace(1, len(others), POINTS).astype(int)) - 1
    thresholds = np.sort(others)[::-1][places]
    return {
        "auc": found,
        "low": low,
        "high": high,
        "found": [found_at(members, others, rate) for rate in RATES],
        "curve": {
            "false": [float((others > at).mean()) for at in thresholds],
            "true": [float((members > at).mean()) for at in thresholds],
        },
    }
