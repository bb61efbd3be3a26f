"""What a private teacher promises, in its file and in words; and what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
