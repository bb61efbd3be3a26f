"""What a private teacher promises, in its file and in words; and what it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gendistill.errors import UserError
from gendistill.privacy.accountant import ACCOUNTANTS, LARGEST, Call, epsilon_of
from gendistill.privacy.ledger import ADJACENCIES, Ledger
from gendistill.privacy.noise import SOURCE
from gendistill.privacy.stand_in import PUBLIC

KEY = "privacy"
"""The entry of a teacher's metadata."""
NOT_PRIVATE = (
    "no formal guarantee: this teacher was made without differential privacy, and distilling does not protect by itself"
)


def promise(ledger: Ledger, public: Sequence[str] = ()) -> dict[str, Any]:
    """Return what goes into a teacher's file.

    Args:
        ledger: It has the calls that were made.
        public: What the method treats as public, beside :data:`~gendistill.privacy.stand_in.PUBLIC`.
    """
    budget = ledger.budget
    return {
        "epsilon": ledger.spent(),
        "delta": budget.delta,
        "budget": budget.epsilon,
        "adjacency": budget.adjacency,
        "unit": budget.unit,
        "accountant": ledger.accountant,
        "calls": ledger.entries(),
        "covers": "training images",
        "public": [*PUBLIC, *public],
        "noise": SOURCE,
    }


def sentence(noted: Any) -> str:
    """Return the honest first line on a teacher.

    Args:
        noted: Its entry :data:`KEY`, of which nobody vouches; None: it has none.
    """
    if not isinstance(noted, Mapping):
        return NOT_PRIVATE
    try:
        epsilon, delta = float(noted["epsilon"]), float(noted["delta"])
        neighbours = ADJACENCIES[str(noted["adjacency"])]
    except (KeyError, TypeError, ValueError):
        return "its file names a promise of privacy that cannot be read; take it as none"
    unit, accountant = str(noted.get("unit"))[:60], str(noted.get("accountant"))[:60]
    return (
        f"differentially private: epsilon {epsilon:.4g} at delta {delta:g} for {neighbours} ({unit}), by {accountant}; "
        "several images of one person are not covered together, nor are evaluations against private images"
    )


class Promise(NamedTuple):
    """What a teacher's file promises, looked at.

    Attributes:
        epsilon: From 0, finite.
        delta: From 0, finite.
        adjacency: One of :data:`~gendistill.privacy.ledger.ADJACENCIES`.
        entries: Private sums by kind: ``purpose``, ``noise``, ``rate``, ``calls``.
    """

    epsilon: float
    delta: float
    adjacency: str
    entries: list[dict[str, Any]]


def read_promise(noted: Mapping[str, Any]) -> Promise:
    """Return what an entry :data:`KEY` says, of which nobody vouches.

    Raises:
        UserError: It is damaged, or names numbers that cannot be.
    """
    try:
        entries: list[dict[str, Any]] = [
            {
                "purpose": str(one.get("purpose", "sums")),
                "noise": float(one["noise"]),
                "rate": float(one["rate"]),
                "calls": int(one["calls"]),
            }
            for one in noted["calls"]
        ]
        found = Promise(float(noted["epsilon"]), float(noted["delta"]), str(noted["adjacency"]), entries)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(
            f"the teacher's promise of privacy cannot be read ({error!r}); make the teacher again"
        ) from error
    numbers = [found.epsilon, found.delta, *(one[name] for one in entries for name in ("noise", "rate", "calls"))]
    sound = all(math.isfinite(value) and value >= 0 for value in numbers) and found.adjacency in ADJACENCIES
    if not sound or not all(one["rate"] <= 1 for one in entries):
        raise UserError("the teacher's promise of privacy names numbers that cannot be; make the teacher again")
    return found


def counted(noted: Mapping[str, Any]) -> float | None:
    """Return what the sums cost that an entry :data:`KEY` names, by their accountant; None: it is not known here.

    Raises:
        UserError: The entry is damaged.
    """
    made = read_promise(noted)
    calls = [Call(one["noise"], one["rate"], one["calls"]) for one in made.entries]
    accountant = str(noted.get("accountant"))
    if not 0 < made.delta < 1:
        return LARGEST if calls else 0.0
    try:
        found = epsilon_of(calls, made.delta, accountant if accountant in ACCOUNTANTS else ACCOUNTANTS[0])
    except UserError:  # Opacus is not installed
        return None
    return min(found, LARGEST)
