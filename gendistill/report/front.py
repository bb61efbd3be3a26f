"""Accuracy against a budget: which teachers no other one beats at the same price or below.

The front is that of the means. Where two teachers cannot be told apart by the rule of comparisons, chance says which of
them stands on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gendistill.errors import UserError, did_you_mean
from gendistill.report.rows import Row, Score
from gendistill.report.verdict import Verdict
from gendistill.words import counted, listed

BUDGETS: Mapping[str, tuple[str, Callable[[Row], float | None]]] = {
    "bytes": ("bytes stored", lambda row: row.bytes),
    "images": ("images stored", lambda row: row.images),
    "cpu_seconds": ("CPU seconds to make", lambda row: row.making.get("cpu_seconds")),
    "peak_memory": ("peak memory while made, bytes", lambda row: row.making.get("peak_memory")),
}
"""What is paid for a teacher, in words, and where a row has it."""


@dataclass(frozen=True)
class Point:
    """One teacher's place: its budget, and what its learners reach."""

    row: Row
    budget: float
    score: Score


@dataclass(frozen=True)
class Front:
    """Teachers by what they cost and what they teach.

    Attributes:
        what: The budget in words.
        updates: The number of learner updates.
        points: All teachers whose budget is known, the cheapest first.
        names: Those on the front, the cheapest first.
    """

    what: str
    updates: int
    points: tuple[Point, ...]
    names: tuple[str, ...]

    def sentence(self) -> str:
        """Say who stands on the front."""
        return (
            f"On the Pareto front of accuracy after {counted(self.updates, 'update')} against {self.what}: "
            f"{listed(self.names)}. No other teacher reaches as much at their price or below; it is a front of means, "
            "and where a difference is not decided chance has a say."
        )


def front(found: Verdict, budget: str = "bytes") -> Front | None:
    """Return the Pareto front of a table; None where nothing may be concluded, or fewer than two teachers have a place.

    Args:
        found: The conclusions, with their rows. Accuracy is taken at the number of updates that was chosen beforehand,
            else at the largest that all share.
        budget: One of :data:`BUDGETS`.

    Raises:
        UserError: There is no such budget.
    """
    if budget not in BUDGETS:
        hint = did_you_mean(budget, BUDGETS)
        raise UserError(f"there is no budget '{budget}'; {hint}choose among: {', '.join(BUDGETS)}")
    what, read = BUDGETS[budget]
    at = _updates(found)
    if at is None:
        return None
    priced = [(row, read(row)) for row in found.table if at in row.scores]
    points = [Point(row, float(price), row.scores[at]) for row, price in priced if price]
    if len(points) < 2:
        return None
    points.sort(key=lambda point: (point.budget, -point.score.mean))
    names, reached = [], -1.0
    for place, point in enumerate(points):
        equal = place and (points[place - 1].budget, points[place - 1].score.mean) == (point.budget, point.score.mean)
        if point.score.mean > reached or (equal and points[place - 1].row.name in names):
            names.append(point.row.name)
            reached = point.score.mean
    return Front(what, at, tuple(points), tuple(names))


def front_marks(found: Verdict) -> list[str]:
    """Return what the column ``front`` says of each row: a tick on the front of stored bytes; empty without a front."""
    one = front(found)
    return [] if one is None else ["✓" if row.name in one.names else "" for row in found.table]


def fronts(found: Verdict) -> list[Front]:
    """Return the fronts that a report draws: of stored bytes, and of CPU seconds where those are known of several."""
    return [one for one in (front(found), front(found, "cpu_seconds")) if one is not None]


def _updates(found: Verdict) -> int | None:
    measured = [set(row.scores) for row in found.table if row.scores]
    if found.differing or not measured:
        return None
    shared: set[int] = set.intersection(*measured)
    if found.chosen is not None:
        return found.chosen
    return max((count for count in shared if count > 0), default=None)
