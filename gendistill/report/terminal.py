"""The table that a terminal shows: scores never without their budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.report.findings import findings
from gendistill.report.rows import (
    byte_size,
    duration,
    fidelity_name,
    image_count,
    number,
    percent,
    rows,
    update_counts,
)


def text_table(results: Mapping[str, Any]) -> str:
    """Return results as a plain-text table with the findings below.

    Args:
        results: ``{"teachers": [result of an evaluation, ...]}``; ``columns`` may choose the numbers of updates.

    Returns:
        Lines without a trailing line break.
    """
    table = rows(results)
    counts = update_counts(table, wanted=results.get("columns"))
    score = fidelity_name(table)
    header = ["teacher", "images", "bytes", *(f"n={count:,}" for count in counts)]
    header += [score] if score else []
    header += ["seconds"]
    body = []
    for row in table:
        cells = [row.name, image_count(row.images), byte_size(row.bytes)]
        cells += [percent(row.scores.get(count)) for count in counts]
        cells += [number(row.fidelity[1]) if row.fidelity else "–"] if score else []
        body.append([*cells, duration(row.seconds)])
    learners = ", ".join(dict.fromkeys(row.learner for row in table if row.learner))
    seeds = max((score.runs for row in table for score in row.scores.values()), default=0)
    note = f"test accuracy in % after n learner updates{f' ({learners})' if learners else ''}"
    note += f", mean ± std over {seeds} seeds" if seeds else ""
    return "\n".join([*aligned([header, *body]), "", note, *results.get("notes", ()), *findings(table)])


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, numbers to the right, a rule below the header."""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    written = []
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        written.append("  ".join(cells).rstrip())
    return [written[0], "─" * (sum(widths) + 2 * (len(widths) - 1)), *written[1:]]
