"""Teachers held against choices of as many real images: random ones, herding, k-center."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gendistill.evaluation.comparison import Difference, compare
from gendistill.report.cells import points
from gendistill.report.findings import few_words
from gendistill.report.rows import REAL, Row, update_counts
from gendistill.report.verdict import Verdict, pairs_of
from gendistill.spelling import LABELS
from gendistill.words import counted

AHEAD, BEHIND = " ▲", " ▼"


@dataclass(frozen=True)
class Chosen:
    """Every teacher beside every choice of as many real images.

    Attributes:
        differences: By teacher, choice and number of updates: one family.
    """

    differences: Mapping[tuple[str, str, int], Difference]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Teachers and choices, each pair once."""
        return list(dict.fromkeys((teacher, choice) for teacher, choice, _ in self.differences))


def chosen(found: Verdict) -> Chosen:
    """Hold each teacher that stores images against the choices of as many real ones.

    Real images that have another teacher's labeller are held against teachers with a labeller alone.

    Args:
        found: The conclusions of the table; of different settings nothing is compared.
    """
    choices = [row for row in found.table if is_choice(row)]
    pairs = {
        (row.name, choice.name, count): pair
        for row in found.table
        for choice in choices
        if not found.differing and not row.everything and not is_choice(row) and comparable(row, choice)
        for count, pair in pairs_of(row, choice, found.chosen, found.step).items()
    }
    return Chosen(compare(pairs))


def is_choice(row: Row) -> bool:
    """Return whether a row is some of the real images, as a command names them."""
    return row.reference.startswith(f"{REAL}:") and not row.everything


def has_labeller(row: Row) -> bool:
    """Return whether a network labels what learners of a row see."""
    return LABELS in row.reference or bool(row.parts and row.parts[2])


def comparable(row: Row, choice: Row) -> bool:
    """Return whether a choice is of as many real images as a teacher stores, with no labels that it has not."""
    return row.images is not None and row.images == choice.images and has_labeller(row) >= has_labeller(choice)


def chosen_cells(found: Verdict, one: Chosen, columns: Sequence[int] | None = None) -> list[list[str]]:
    """Return the differences as rows of text, the heading first; empty without any.

    Args:
        found: The conclusions of the table.
        one: What :func:`chosen` found of it.
        columns: Numbers of updates; None: as the table of scores shows them.
    """
    measured = {count for _, _, count in one.differences}
    counts = [count for count in update_counts(found.table, wanted=columns) if count in measured]
    body = [
        [f"{teacher} − {choice}", *(_words(one.differences.get((teacher, choice, count))) for count in counts)]
        for teacher, choice in one.pairs
    ]
    return [["difference", *(f"n={count:,}" for count in counts)], *body] if body else []


def chosen_values(one: Chosen, cells: Sequence[Sequence[str]]) -> list[list[float | None]]:
    """Return the differences behind the rows of :func:`chosen_cells`, but for the heading and their names."""
    counts = [int(heading.removeprefix("n=").replace(",", "")) for heading in cells[0][1:]] if cells else []
    found = [[one.differences.get((*pair, count)) for count in counts] for pair in one.pairs]
    return [[None if cell is None else cell.mean for cell in row] for row in found]


def chosen_sentences(found: Verdict, one: Chosen) -> list[str]:
    """Return what the columns of :func:`chosen_cells` are, and what is decided."""
    if not one.differences:
        return []
    all_of_them = list(one.differences.values())
    paired = {cell.paired for cell in all_of_them}
    how = "paired t over the same seeds" if paired == {True} else "Student's t, paired where the seeds are the same"
    family = f", Holm over {counted(len(all_of_them), 'comparison')}" if len(all_of_them) > 1 else ""
    ahead = sum(cell.ahead for cell in all_of_them)
    behind = sum(cell.decided for cell in all_of_them) - ahead
    over = next((row.over for row in found.table if row.scores), "seed")
    return [
        "Points of accuracy that a teacher is ahead of as many real images, with their 95 % interval "
        f"({how}{family}); {AHEAD.strip()} decided to be ahead, {BEHIND.strip()} behind: {ahead} and {behind} of "
        f"{len(all_of_them):,}.",
        *few_words(all_of_them, over),
    ]


def chosen_table(one: Chosen) -> list[list[object]]:
    """Return all differences as rows for a CSV, numbers as numbers, the heading first; empty without any."""
    heading: list[object] = ["teacher", "held against", "updates", "difference", "low", "high", "decided", "paired"]
    body: list[list[object]] = [
        [*key, cell.mean, cell.low, cell.high, "yes" if cell.decided else "no", "yes" if cell.paired else "no"]
        for key, cell in one.differences.items()
    ]
    return [heading, *body] if body else []


def _words(one: Difference | None) -> str:
    if one is None:
        return "–"
    reach = "" if one.low is None or one.high is None else f" [{points(one.low)}, {points(one.high)}]"
    return points(one.mean) + reach + ("" if not one.decided else AHEAD if one.mean > 0 else BEHIND)
