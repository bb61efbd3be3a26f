"""Sentences that say where a teacher beats training on all real data, and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gendistill.report.rows import Row, Score


def margin(score: Score, other: Score) -> tuple[float, float]:
    """Return the difference of two means and its standard error (independent seeds, unequal variances)."""
    error = math.sqrt(score.std**2 / max(score.runs, 1) + other.std**2 / max(other.runs, 1))
    return score.mean - other.mean, error


def wins(row: Row, reference: Row) -> list[int]:
    """Return the numbers of updates at which a teacher is ahead by more than two standard errors."""
    found = []
    for count in sorted(set(row.scores) & set(reference.scores)):
        score, real = row.scores[count], reference.scores[count]
        if min(score.runs, real.runs) < 2:
            continue  # one seed says nothing about the noise
        difference, error = margin(score, real)
        if difference > 0 and difference > 2 * error:
            found.append(count)
    return found


def findings(table: Sequence[Row]) -> list[str]:
    """Write one sentence for each teacher that beats all real data at an equal number of updates.

    Returns:
        Sentences; one that says so when no teacher does; none when there is no real data to compare with.
    """
    reference = next((row for row in table if row.is_reference), None)
    others = [row for row in table if not row.is_reference]
    if reference is None or not others:
        return []
    sentences = []
    for row in others:
        ahead = wins(row, reference)
        if not ahead:
            continue
        measured = sorted(set(row.scores) & set(reference.scores))
        best = max(ahead, key=lambda count: _clearness(row.scores[count], reference.scores[count]))
        sentences.append(
            f"{row.name} beats training on all real data {_span(ahead, measured)}: "
            f"after {best:,} {'update' if best == 1 else 'updates'} its learners reach {_points(row.scores[best])}, "
            f"against {_points(reference.scores[best])}."
        )
    return sentences or [
        "No teacher is ahead of training on all real data by more than two standard errors at any number of updates "
        "measured."
    ]


def _clearness(score: Score, other: Score) -> float:
    """Return the difference of two means in standard errors."""
    difference, error = margin(score, other)
    return difference / error if error else math.inf


def _points(score: Score) -> str:
    return f"{100 * score.mean:.1f} ± {100 * score.std:.1f} %"


def _span(ahead: list[int], measured: list[int]) -> str:
    """Say at which numbers of updates: a run from the first one on is ``up to``."""
    if ahead == measured:
        return "at every number of updates measured"
    if len(ahead) == 1:
        return f"at {ahead[0]:,} updates" if ahead[0] != 1 else "after one update"
    if ahead == measured[: len(ahead)]:
        return f"up to {ahead[-1]:,} updates"
    return "at " + ", ".join(f"{count:,}" for count in ahead[:-1]) + f" and {ahead[-1]:,} updates"
