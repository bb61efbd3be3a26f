"""The table that a terminal shows: scores never without their budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.plain import plain
from gendistill.report.architectures import architecture_cells, architecture_sentences
from gendistill.report.cells import byte_size, distance, duration, image_count, per_update, percent
from gendistill.report.chosen import chosen, chosen_cells, chosen_sentences
from gendistill.report.facts import (
    accuracy_words,
    byte_columns,
    fidelity_columns,
    fidelity_sentences,
    learners_of,
    note_sentences,
    rate_sentences,
    same_per_update,
    split_of,
    split_sentence,
    spread_words,
)
from gendistill.report.findings import findings
from gendistill.report.front import front_marks
from gendistill.report.markup import SPACE
from gendistill.report.modes import mode_cells, mode_sentences
from gendistill.report.rows import Row, update_counts
from gendistill.report.verdict import Verdict, verdict
from gendistill.visible import seen, visible

WIDEST = 100
"""Characters of a cell."""
MARK = " *"
"""Stands behind the name of a teacher that was measured under other settings."""


def text_table(results: Mapping[str, Any]) -> str:
    """Return results as a plain-text table with the findings below.

    Args:
        results: ``{"teachers": [result of an evaluation, ...]}``; ``columns`` may choose the numbers of updates.

    Returns:
        Lines without a trailing line break.

    Raises:
        UserError: Something has not the form of results.
    """
    cells, notes = text_cells(results)
    shown, modes = [*aligned(cells), "", *notes], mode_cells(results := seen(plain(results)))
    shown += ["", *aligned(modes), "", *mode_sentences(results)] if modes else []
    found = verdict(results)
    beside = chosen(found)
    held = chosen_cells(found, beside, results.get("columns"))
    shown += ["", *aligned(held), "", *chosen_sentences(found, beside)] if held else []
    across = architecture_cells(results)
    return "\n".join([*shown, *(["", *aligned(across), "", *architecture_sentences(results)] if across else [])])


def text_cells(results: Mapping[str, Any]) -> tuple[list[list[str]], list[str]]:
    """Return the rows of the table of :func:`text_table`, the headings first, and the sentences below it.

    Args:
        results: As there.

    Raises:
        UserError: Something has not the form of results.
    """
    results = seen(plain(results))
    found = verdict(results)
    table = found.table
    columns = _columns(found, update_counts(table, wanted=results.get("columns")))
    cells = [[heading for heading, _ in columns], *map(list, zip(*(cells for _, cells in columns), strict=True))]
    return cells, [*_notes(table), *(results.get("notes") or ()), *findings(found)]


def time_columns(table: Sequence[Row]) -> list[tuple[str, list[float | None]]]:
    """Return the columns of seconds: of making the teachers where that is known, else of judging them."""
    cpu, gpu = ([row.making.get(f"{kind}_seconds") for row in table] for kind in ("cpu", "gpu"))
    if any(cpu):
        heading = "making, "
        return [(f"{heading}CPU{SPACE}s", cpu), *([(f"{heading}GPU{SPACE}s", gpu)] if any(gpu) else [])]
    made, judged = [row.made for row in table], [row.judged for row in table]
    if any(made):
        return [(f"making,{SPACE}s", made)]
    return [(f"judging,{SPACE}s", judged)] if any(judged) else []


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, numbers to the right, a rule below the header; long names are shortened."""
    lines = [[visible(cell, WIDEST) for cell in line] for line in lines]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    written = []
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        written.append("  ".join(cells).rstrip())
    return [written[0], "─" * (sum(widths) + 2 * (len(widths) - 1)), *written[1:]]


def _columns(found: Verdict, counts: Sequence[int]) -> list[tuple[str, list[str]]]:
    table = found.table
    names = [row.name + (MARK if found.marked(place) else "") for place, row in enumerate(table)]
    columns = [
        ("teacher", names),
        ("images", [image_count(row.images, row.decoded) for row in table]),
        *([("distinct", distinct)] if (distinct := distinct_cells(table)) else []),
        *byte_columns(table),
    ]
    if same_per_update(table) is None and any(row.images_per_update for row in table):
        columns.append(("per update", [per_update(row.images_per_update) for row in table]))
    columns += [(f"n={count:,}", [percent(row.scores.get(count)) for row in table]) for count in counts]
    columns += [("front", marks)] if (marks := front_marks(found)) else []
    columns += [(heading, [distance(one) for one in cells]) for heading, cells in fidelity_columns(table)]
    columns += [(heading, [duration(one) for one in cells]) for heading, cells in time_columns(table)]
    columns += [(heading, [byte_size(one) for one in cells]) for heading, cells in memory_columns(table)]
    return columns


def memory_columns(table: Sequence[Row]) -> list[tuple[str, list[int | None]]]:
    """Return the columns of memory that making the teachers took at most, in bytes; none where that is not known."""
    found = []
    for name, heading in (("peak_memory", "peak memory"), ("peak_gpu_memory", "peak GPU memory")):
        cells = [None if (size := row.making.get(name)) is None else int(size) for row in table]
        found += [(heading, cells)] if any(cells) else []
    return found


def distinct_cells(table: Sequence[Row]) -> list[str]:
    """Return how many stored images differ; empty where in every teacher all do, or that is not known."""
    if all(row.distinct in (None, row.images) for row in table):
        return []
    return [image_count(row.distinct) if row.distinct is not None or row.images is None else "–" for row in table]


def _notes(table: Sequence[Row]) -> list[str]:
    """Say what the numbers are; nothing of accuracy where none was measured."""
    notes = []
    if any(row.scores for row in table):
        learners, spread, images = ", ".join(learners_of(table)), spread_words(table), same_per_update(table)
        parts = [f"{accuracy_words(table)} in % after n learner updates{f' ({learners})' if learners else ''}"]
        parts += [f"{images} {'image' if images == '1' else 'images'} an update"] if images else []
        parts += [spread] if spread else []
        notes.append(", ".join(parts))
        on_validation = split_of(table) == "validation" and any(len(row.candidates) > 1 for row in table)
        if (sentence := split_sentence(table)) and (split_of(table) is None or on_validation):
            notes.append(sentence)
        notes += rate_sentences(table)
    return notes + fidelity_sentences(table) + note_sentences(table)
