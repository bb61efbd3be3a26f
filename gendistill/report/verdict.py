"""What a report concludes: which teachers are ahead of all real data, and which is ahead of every other one.

Sentences, shading, bold and the figure of differences all follow from here, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from gendistill.evaluation.comparison import Difference, Sample, compare
from gendistill.evaluation.settings import Differing, differing
from gendistill.report.rows import Row, reference_of, rows, step_of


@dataclass(frozen=True)
class Verdict:
    """The conclusions of one table.

    Attributes:
        table: Its rows.
        differing: Settings in which they differ. With any of them nothing is concluded.
        reference: The row of all real data, None where there is none.
        chosen: The one number of updates that was named beforehand; None: all count.
        against: Difference of a teacher to all real data, by its name and the number of updates: one family.
        best: By number of updates, the teacher that is ahead of every other one.
        pairs: Comparisons behind ``best``: every two teachers at every number of updates, a family of its own.
        step: Distance of two accuracies that can be told apart.
    """

    table: Sequence[Row]
    differing: Sequence[Differing] = ()
    reference: Row | None = None
    chosen: int | None = None
    against: Mapping[tuple[str, int], Difference] = field(default_factory=dict)
    best: Mapping[int, str] = field(default_factory=dict)
    pairs: int = 0
    step: float = 0.0

    @property
    def others(self) -> list[Row]:
        """The teachers that are held against all real data; another row of the same is none."""
        return [] if self.reference is None else [row for row in self.table if not row.everything]

    @property
    def names(self) -> list[str]:
        """The names of all rows."""
        return [row.name for row in self.table]

    def ahead(self, name: str) -> list[int]:
        """Return the numbers of updates at which a teacher is ahead of all real data."""
        return [count for (one, count), found in self.against.items() if one == name and found.ahead]

    def behind(self, name: str) -> list[int]:
        """Return the numbers of updates at which all real data is ahead of a teacher."""
        return [
            count for (one, count), found in self.against.items() if one == name and found.decided and not found.ahead
        ]

    def counts(self, name: str) -> list[int]:
        """Return the numbers of updates at which a teacher was compared with all real data."""
        return [count for one, count in self.against if one == name]

    def marked(self, place: int) -> bool:
        """Return whether a row was measured under other settings than the first."""
        return any(one.odd(place) for one in self.differing)


def verdict(results: Mapping[str, Any]) -> Verdict:
    """Draw the conclusions of a table.

    Args:
        results: ``{"teachers": [...]}``; ``rank_at`` may name one number of updates that was chosen before anything was
            measured, which makes the families smaller: then it alone counts.

    Raises:
        UserError: Something has not the form of results.
    """
    table, chosen = rows(results), results.get("rank_at")
    different = differing(results["teachers"])
    reference = reference_of(table)
    if different:
        return Verdict(table, different, reference, chosen)
    step = step_of(table)
    against = {}
    if reference is not None:
        for row in table:
            if not row.everything:
                pairs = {(row.name, count): pair for count, pair in pairs_of(row, reference, chosen, step).items()}
                against.update(pairs)
    best, size = _best(table, chosen, step)
    return Verdict(table, (), reference, chosen, compare(against), best, size, step)


def pairs_of(row: Row, other: Row, chosen: int | None, step: float) -> dict[int, tuple[Sample, Sample]]:
    """Pair what two teachers reached at the numbers of updates at which they can be compared."""
    counts = shared_counts(row, other, chosen)
    return {count: (row.sample(count, step), other.sample(count, step)) for count in counts}


def shared_counts(row: Row, other: Row, chosen: int | None) -> list[int]:
    """Return the numbers of updates at which two teachers can be compared.

    They were measured for both, something was learned (0 is left out), and if the rate followed a schedule it was one
    of the same length.
    """
    if None not in (row.planned, other.planned) and row.planned != other.planned:
        return []
    counts = sorted(count for count in set(row.scores) & set(other.scores) if count > 0)
    return [count for count in counts if chosen is None or count == chosen]


def _best(table: Sequence[Row], chosen: int | None, step: float) -> tuple[dict[int, str], int]:
    """Return the teachers that are ahead of every other one measured at the same number, and the family's size."""
    pairs = {
        (count, first, second): pair
        for first, second in combinations(range(len(table)), 2)
        for count, pair in pairs_of(table[first], table[second], chosen, step).items()
    }
    found = compare(pairs)
    beaten: dict[tuple[int, int], int] = {}
    for (count, first, second), difference in found.items():
        if difference.decided:
            winner = first if difference.mean > 0 else second
            beaten[count, winner] = beaten.get((count, winner), 0) + 1
    rivals = {count: sum(count in row.scores for row in table) - 1 for count, _, _ in pairs}
    best = {count: table[winner].name for (count, winner), wins in beaten.items() if wins == rivals[count]}
    return best, len(found)
