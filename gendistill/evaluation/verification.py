"""Does a measured accuracy agree with a claimed one? Student's t and a margin within which two accuracies are the same.

Agreement has to be shown, too: "not significantly different" is what a single noisy learner says of any claim. So there
are three answers. Let the interval be that of the difference of measured and claimed accuracy:

    agrees      the interval lies within the margin
    differs     the interval lies outside the margin
    undecided   it does neither; more learners would tell

Each error has a probability of 2.5 % at most, that of one side of the interval (two one-sided tests: Schuirmann 1987).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from gendistill.errors import UserError
from gendistill.evaluation.comparison import quantile

MARGIN = 0.01
"""A point, which is what one protocol differs by when it is written twice; docs/verify.md has the reasons."""
MOST = 1000
"""Learners beyond which nobody is asked to train more."""
CLAIM = re.compile(r"^\s*(\d+(?:\.\d*)?)\s*%?\s*(?:(?:±|\+-|\+/-)\s*(\d+(?:\.\d*)?)\s*%?)?\s*$")


@dataclass(frozen=True)
class Claim:
    """A published accuracy.

    Attributes:
        value: A fraction.
        std: The standard deviation behind its ±, a fraction; None: none is known.
        runs: What it is the deviation of: so many results, whose mean the claim is. None: not known; the one result at
            hand may then lie that far from the claim by itself, as one making of several does.
    """

    value: float
    std: float | None = None
    runs: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise UserError(f"the claimed accuracy is {100 * self.value:g} %; give one between 0 and 100")
        if self.std is not None and not 0.0 <= self.std < 1.0:
            raise UserError(f"the claim's deviation is {100 * self.std:g}; give points of per cent from 0, such as 0.4")
        if self.runs is not None and self.std is None:
            raise UserError("a number of runs says how far to trust the claim's deviation; give that, too")
        if self.runs is not None and self.runs < 2:
            raise UserError(f"the claim's deviation is of {self.runs} runs; there is one from 2 on")

    @classmethod
    def parse(cls, text: str, std: float | None = None, runs: int | None = None) -> Self:
        """Read ``66.8`` or ``66.8±0.4`` (also ``+-``), in per cent.

        Args:
            text: The claim.
            std: Its deviation in points, where the text has none.
            runs: See :class:`Claim`.

        Raises:
            UserError: It is no such text, or a fraction where per cent are meant.
        """
        match = CLAIM.match(text)
        if match is None:
            raise UserError(f"the claim is '{text}'; give per cent, such as 66.8 or 66.8±0.4")
        value, own = float(match[1]), None if match[2] is None else float(match[2])
        if 0.0 < value <= 1.0:
            raise UserError(f"the claim is {text} %; give per cent, {100 * value:g} if a fraction was meant")
        if own is not None and std is not None:
            raise UserError(f"the claim is '{text}' and its deviation {std:g} beside it; give one of the two")
        deviation = own if own is not None else std
        return cls(value / 100, None if deviation is None else deviation / 100, runs)


@dataclass(frozen=True)
class Verdict:
    """What learners say of a claim; accuracies are fractions.

    Attributes:
        word: ``agrees``, ``differs`` or ``undecided``.
        difference: Mean of the learners minus the claim.
        error: Its standard error; 0 where neither side varies at all.
        df: Degrees of freedom of Student's t.
        low: Lower end of its 95 % interval.
        high: Upper end.
        margin: Within it accuracies are the same.
        errors: The difference in standard errors; None where the error is 0.
        runs_needed: Learners that would decide if they went on like this; None: decided, or no number would.
    """

    word: str
    difference: float
    error: float
    df: float
    low: float
    high: float
    margin: float
    errors: float | None
    runs_needed: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return asdict(self)


def check_margin(margin: float) -> None:
    """Refuse a margin that is none.

    Raises:
        UserError: It is not above 0 and below 100 points.
    """
    if not 0.0 < margin < 1.0:
        raise UserError(f"the margin is {100 * margin:g} points; give a number above 0, such as 1")


def judge_claim(runs: Sequence[float], claim: Claim, *, margin: float = MARGIN, step: float = 0.0) -> Verdict:
    """Hold the accuracies of several learners against a claim.

    Args:
        runs: Accuracies, fractions, one a learner, at least 2.
        claim: What was published.
        margin: Half the width within which accuracies are the same, a fraction above 0.
        step: Distance of two accuracies that can be told apart, one over the number of images tested on: learners that
            agree by chance are never trusted further than their rounding.

    Raises:
        UserError: Fewer than two learners, or no margin.
    """
    if len(runs) < 2:
        raise UserError(f"{len(runs)} learner says nothing of how learners vary; train at least 2 (seeds)")
    check_margin(margin)
    values = np.asarray(runs, dtype=np.float64)
    variance = max(float(values.var(ddof=1)), step**2 / 12)
    difference = float(values.mean()) - claim.value

    def interval(count: int) -> tuple[float, float, float]:
        """Return standard error, degrees of freedom and half the interval's width of so many learners."""
        own, theirs = variance / count, _variance(claim)
        total = own + theirs
        # Welch and Satterthwaite; a deviation of a number of runs that is not known counts as known exactly.
        shares = own**2 / (count - 1) + (theirs**2 / (claim.runs - 1) if claim.runs else 0.0)
        df = total**2 / shares if shares > 0 else count - 1.0
        error = math.sqrt(total)
        return error, df, float(quantile(df)) * error

    error, df, reach = interval(len(values))
    low, high = difference - reach, difference + reach
    inside = -margin < low and high < margin
    outside = low > margin or high < -margin
    word = "agrees" if inside else "differs" if outside else "undecided"
    # What the interval's half may be at most for either answer, were the means to stay where they are.
    room = abs(margin - abs(difference))
    enough = (count for count in range(len(values) + 1, MOST + 1) if interval(count)[2] < room)
    return Verdict(
        word,
        difference,
        error,
        df,
        low,
        high,
        margin,
        abs(difference) / error if error else None,
        next(enough, None) if word == "undecided" else None,
    )


def _variance(claim: Claim) -> float:
    """Return the variance of a claim as an estimate of the result at hand."""
    return 0.0 if claim.std is None else claim.std**2 / (claim.runs or 1)


def sentence(runs: Sequence[float], claim: Claim, verdict: Verdict) -> str:
    """Say a verdict in words: agrees, or differs by so many standard errors, with the interval."""
    measured, points = _measured(runs), signed(verdict.difference)
    span = f"95 % interval {signed(verdict.low)} to {signed(verdict.high)}"
    beside = f"{measured} against {_claimed(claim)}: {points} points, {span}"
    if verdict.word == "agrees":
        return f"agrees: {beside}, within ±{100 * verdict.margin:g}"
    if verdict.word == "differs":
        far = (
            ""
            if verdict.errors is None
            else f", {verdict.errors:,.1f} standard errors (t with {_degrees(verdict.df)} df)"
        )
        return f"differs: {beside}{far}"
    more = "no number of them would tell" if verdict.runs_needed is None else f"about {verdict.runs_needed} would tell"
    return f"undecided by {len(runs)} learners ({more}): {beside}, the margin is ±{100 * verdict.margin:g}"


def signed(fraction: float) -> str:
    """Write a difference of fractions in points with its sign: ``+42.3``, ``0.0``."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _measured(runs: Sequence[float]) -> str:
    values = np.asarray(runs, dtype=np.float64)
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f} % ({len(values)} learners)"


def _degrees(df: float) -> str:
    """Write degrees of freedom; beyond a few hundred they no longer matter."""
    return f"{df:.0f}" if df < 999.5 else "over 999"


def _claimed(claim: Claim) -> str:
    spread = "" if claim.std is None else f" ± {100 * claim.std:.3g}"
    return f"{100 * claim.value:.4g}{spread} % claimed"
