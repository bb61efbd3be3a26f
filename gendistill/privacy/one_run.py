"""A lower bound of epsilon from one run: canaries go in by the toss of a coin, and an attacker guesses which.

Steinke, Nasr, Jagielski 2023, "Privacy Auditing with One (1) Training Run", theorem 5.2 and the code of appendix D: of
r guesses, a mechanism that is (epsilon, delta)-private lets more than v be right with probability at most

    P[B >= v] + 2 m delta max_i (1 / i) P[v > B >= v - i],   B binomial(r, exp(epsilon) / (1 + exp(epsilon))).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from gendistill.errors import UserError

CONFIDENCE = 0.95


def p_value(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Return how likely so many right guesses are at most, were the promise kept.

    Args:
        canaries: m, how many were tossed for.
        guesses: r, for how many of them a guess was made; 0 to m.
        right: v, how many guesses were right; 0 to r.
        epsilon: Of the promise.
        delta: Of the promise.
    """
    chance = 1.0 / (1.0 + math.exp(-epsilon))
    law = stats.binom(guesses, chance)
    # P[B >= v - i] for i = 0, 1, ..., v.
    tails = law.sf(np.arange(right, -1, -1) - 1)
    worst = max(((tails[i] - tails[0]) / i for i in range(1, right + 1)), default=0.0)
    return float(min(tails[0] + 2.0 * canaries * delta * worst, 1.0))


def epsilon_bound(canaries: int, guesses: int, right: int, delta: float, *, confidence: float = CONFIDENCE) -> float:
    """Return the largest epsilon that so many right guesses refute; 0 where they refute none.

    Args:
        canaries: See :func:`p_value`.
        guesses: See there.
        right: See there.
        delta: Of the promise.
        confidence: Of the bound, in (0, 1).

    Raises:
        UserError: The counts do not fit each other.
    """
    if not 0 <= right <= guesses <= canaries:
        raise UserError(f"{right} right of {guesses} guesses of {canaries} canaries cannot be")
    low, high = 0.0, 1.0
    if p_value(canaries, guesses, right, low, delta) >= 1 - confidence:
        return 0.0
    while p_value(canaries, guesses, right, high, delta) < 1 - confidence:
        low, high = high, high * 2
    for _ in range(40):
        middle = (low + high) / 2
        refuted = p_value(canaries, guesses, right, middle, delta) < 1 - confidence
        low, high = (middle, high) if refuted else (low, middle)
    return low


def guess(scores: np.ndarray, guesses: int) -> np.ndarray:
    """Return guesses (m,): 1 for the highest scores, -1 for the lowest, as many of each, 0 for none.

    Args:
        scores: (m,) higher where a canary looks included.
        guesses: How many in all, fixed before the scores are looked at.
    """
    order = np.argsort(-scores, kind="stable")
    made = np.zeros(len(scores), dtype=np.int64)
    made[order[: guesses // 2]] = 1
    made[order[len(order) - (guesses - guesses // 2) :]] = -1
    return made
