"""A text that is always there: short reviews from a small grammar, in which no single word tells the class.

A review has one or two clauses about things that reviews are about, of one of three topics. A clause praises or
complains with an adjective that may be negated: "the soup was not very good". Two clauses agree if "and" joins them; if
"but" does they differ, and the last one decides. So a word, and even all words without their order, tells only a part.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import torch

from gendistill.data.split import SPLIT_SEED

T = TypeVar("T")

CLASS_NAMES = ("negative", "positive")
SIZES = (2400, 400, 1200)
"""Train, validation and test; stratified with the constant seed of :mod:`gendistill.data.split`."""
LENGTH = 19
"""Words of the longest review."""
SIZE = 16
"""Numbers of a word's vector, where nothing else is asked for."""

TOPICS = (
    ("plot", "acting", "music", "ending", "camera", "story"),
    ("soup", "bread", "service", "menu", "wine", "dessert"),
    ("room", "bed", "view", "pool", "breakfast", "staff"),
)
VERBS = ("was", "is", "seemed", "felt", "looked")
NEGATIONS = ("not", "never", "hardly")
DEGREES = ("very", "really", "quite", "so", "rather", "")
ADJECTIVES = (
    ("bad", "awful", "dull", "horrible", "cold", "boring", "poor", "clumsy", "stale", "weak"),
    ("good", "great", "lovely", "brilliant", "warm", "pleasant", "superb", "charming", "fresh", "fine"),
)
OPENINGS = ("honestly", "in the end", "to be fair", "i think", "all in all", "", "", "")
CLOSINGS = ("for the price", "on friday", "this time", "for us", "in my opinion", "", "", "")
NEGATED = 0.35
TWO_CLAUSES = 0.6


@lru_cache(maxsize=1)
def reviews() -> tuple[tuple[str, int], ...]:
    """Return 4,000 different reviews with their classes; always the same ones."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    found: dict[str, int] = {}
    while len(found) < sum(SIZES):
        for row in torch.rand(1024, 20, generator=generator, dtype=torch.float64).tolist():
            text, label = _review(row)
            found.setdefault(text, label)
    return tuple(found.items())[: sum(SIZES)]


def _review(chances: list[float]) -> tuple[str, int]:
    """Return the review that twenty numbers in [0, 1) stand for."""
    draw = iter(chances)
    label, topic = int(2 * next(draw)), _one(TOPICS, next(draw))
    opening, closing = _one(OPENINGS, next(draw)), _one(CLOSINGS, next(draw))
    clauses = [_clause(topic, label, [next(draw) for _ in range(5)])]
    if next(draw) < TWO_CLAUSES:
        differ = next(draw) < 0.5
        first = _clause(topic, label ^ int(differ), [next(draw) for _ in range(5)])
        clauses = [first, "but" if differ else "and", *clauses]
    return " ".join(part for part in (opening, *clauses, closing) if part), label


def _clause(topic: tuple[str, ...], praise: int, chances: list[float]) -> str:
    negated = chances[0] < NEGATED
    noun, verb = _one(topic, chances[1]), _one(VERBS, chances[2])
    degree, adjective = _one(DEGREES, chances[3]), _one(ADJECTIVES[praise ^ int(negated)], chances[4])
    # What is left of the chance that it is negated says how.
    negation = _one(NEGATIONS, chances[0] / NEGATED) if negated else ""
    return " ".join(word for word in ("the", noun, verb, negation, degree, adjective) if word)


def _one(choices: tuple[T, ...], chance: float) -> T:
    return choices[int(chance * len(choices))]
