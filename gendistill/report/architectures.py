"""What several kinds of learners learn from each teacher, beside random real images: a table, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gendistill.evaluation.comparison import Difference, Sample, compare
from gendistill.evaluation.settings import differing
from gendistill.report.cells import percent
from gendistill.report.chosen import AHEAD, BEHIND, comparable, has_labeller
from gendistill.report.rows import Row, Score, rows, scores_of, step_of
from gendistill.words import counted, listed

MOST = 3
"""Numbers of updates of each learner in the table, the last among them."""
SEEN = "†"
RANDOM = ("real:ipc=", "real:subset=")
"""How random real images are named."""


@dataclass(frozen=True)
class Cell:
    """What one kind of learner reaches on one teacher after one number of updates.

    Attributes:
        teacher: The teacher's name.
        learner: The learner's.
        seen: Whether the teacher was made with learners of this kind.
        updates: The number of updates.
        score: What it reaches.
        beside: The name of the random real images that it is held against; None: there are none.
        difference: How far it is ahead of them; None: it cannot be told.
    """

    teacher: str
    learner: str
    seen: bool
    updates: int
    score: Score
    beside: str | None = None
    difference: Difference | None = None

    def words(self) -> str:
        """Return the accuracy, with a mark where it is decided to be ahead of random real images, or behind."""
        one = self.difference
        mark = "" if one is None or not one.decided else AHEAD if one.mean > 0 else BEHIND
        return percent(self.score) + (SEEN if self.seen else "") + mark


def learner_cells(results: Mapping[str, Any]) -> list[Cell]:
    """Return all cells of a table of teachers by learners, compared with random real images as one family.

    Args:
        results: ``{"teachers": [...]}``; those with ``architectures`` were judged by several kinds of learners.
    """
    table = rows(results)
    judged = [
        (row, str(curve["name"]), bool(curve.get("seen")), _scores(curve))
        for row, one in zip(table, results["teachers"], strict=True)
        for curve in one.get("architectures") or ()
    ]
    if not judged:
        return []
    step = step_of(table)
    beside = {} if differing(results["teachers"]) else _beside(table)
    reached = {(row.name, learner): (row, scores) for row, learner, _, scores in judged}
    pairs: dict[tuple[str, str, int], tuple[Sample, Sample]] = {}
    for row, learner, _, scores in judged:
        if (found := reached.get((beside.get(row.name, ""), learner))) is not None:
            for count in set(scores) & set(found[1]) - {0}:
                one = Sample(scores[count].values, row.seeds, step)
                pairs[row.name, learner, count] = one, Sample(found[1][count].values, found[0].seeds, step)
    decided = compare(pairs)
    return [
        Cell(row.name, learner, seen, count, score, beside.get(row.name), decided.get((row.name, learner, count)))
        for row, learner, seen, scores in judged
        for count, score in sorted(scores.items())
    ]


def architecture_cells(results: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of :func:`learner_cells` as rows of text, the heading first; empty without any.

    Args:
        results: See there.
    """
    found = learner_cells(results)
    columns = _columns(found)
    shown = {_place(cell): cell.words() for cell in found}
    headings = [f"{learner} n={count:,}" for learner, count in columns]
    body = [[name, *(shown.get((name, *column), "–") for column in columns)] for name in _teachers(found)]
    return [["teacher", *headings], *body] if body else []


def architecture_values(results: Mapping[str, Any]) -> list[list[float | None]]:
    """Return the mean accuracies behind the rows of :func:`architecture_cells`, but for the heading."""
    found = learner_cells(results)
    means = {_place(cell): cell.score.mean for cell in found}
    return [[means.get((name, *column)) for column in _columns(found)] for name in _teachers(found)]


def architecture_sentences(results: Mapping[str, Any]) -> list[str]:
    """Return what the columns of :func:`architecture_cells` are."""
    curves = [curve for one in results["teachers"] for curve in one.get("architectures") or ()]
    if not curves:
        return []
    sizes = {str(curve["name"]): f"{curve['name']} {curve['parameters']:,}" for curve in curves if curve["parameters"]}
    found = learner_cells(results)
    sentences = [
        "Accuracy in % of several kinds of learners after n updates, each at the rate that its own validation accuracy "
        f"chose where there was a choice; parameters: {', '.join(sizes.values())}."
    ]
    if any(cell.seen for cell in found):
        sentences.append(f"{SEEN} the teacher was made with learners of this kind; to it the others are unseen.")
    compared = [cell for cell in found if cell.difference is not None]
    if compared:
        whom = listed(list(dict.fromkeys(str(cell.beside) for cell in compared)))
        paired = {cell.difference.paired for cell in compared if cell.difference is not None}
        how = "paired t over the same seeds" if paired == {True} else "Student's t, paired where the seeds are the same"
        ahead, behind = (
            sum(one.decided and (one.mean > 0) == up for cell in compared if (one := cell.difference) is not None)
            for up in (True, False)
        )
        sentences.append(
            f"{AHEAD.strip()} decided to be ahead of random real images ({whom}), {BEHIND.strip()} behind: {ahead} and "
            f"{behind} of {counted(len(compared), 'cell')} ({how}, Holm over all cells)."
        )
    return sentences


def _beside(table: Sequence[Row]) -> dict[str, str]:
    """Return by teacher the random real images that it is held against.

    As many as it stores, with its labeller where there are such ones; of any number where there is but one choice.
    """
    random = [row for row in table if row.reference.startswith(RANDOM) and not row.everything]
    found: dict[str, str] = {}
    for row in table:
        same = [one for one in random if comparable(row, one)]
        same.sort(key=lambda one: has_labeller(one) != has_labeller(row))
        if row not in random and (fitting := same or (random if len(random) == 1 else [])):
            found[row.name] = fitting[0].name
    return found


def _scores(curve: Mapping[str, Any]) -> dict[int, Score]:
    return scores_of({"accuracy": curve["accuracy"], "updates": curve["updates"]})


def _place(cell: Cell) -> tuple[str, str, int]:
    return cell.teacher, cell.learner, cell.updates


def _teachers(found: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.teacher for cell in found))


def _columns(found: Sequence[Cell]) -> list[tuple[str, int]]:
    """Return the learners and numbers of updates of the table's columns."""
    there = {(cell.learner, cell.updates) for cell in found}
    counts = _shown(sorted({cell.updates for cell in found} - {0}))
    learners = dict.fromkeys(cell.learner for cell in found)
    return [(learner, count) for learner in learners for count in counts if (learner, count) in there]


def _shown(counts: Sequence[int]) -> list[int]:
    """Return the numbers of updates in the table: at most :data:`MOST`, evenly spread with both ends."""
    if len(counts) <= MOST:
        return list(counts)
    return [counts[round(place * (len(counts) - 1) / (MOST - 1))] for place in range(MOST)]


def long_table(results: Mapping[str, Any]) -> list[list[Any]]:
    """Return all cells as rows for a CSV, numbers as numbers, the heading first; empty without any."""
    found = learner_cells(results)
    heading = ["teacher", "learner", "seen", "updates", "accuracy mean", "accuracy std", "random real images"]
    heading += ["difference", "low", "high", "decided"]
    body: list[list[Any]] = []
    for cell in found:
        one = cell.difference
        told = [None] * 4 if one is None else [one.mean, one.low, one.high, "yes" if one.decided else "no"]
        line: list[Any] = [cell.teacher, cell.learner, "yes" if cell.seen else "no", cell.updates, cell.score.mean]
        body.append([*line, cell.score.std, cell.beside, *told])
    return [heading, *body] if body else []
