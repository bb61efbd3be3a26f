"""The report's tables: scores with their budgets beside them, and the learning rates behind a curve.

A heading sorts its column when it is clicked (``page.js``); what a cell sorts by is its number, not its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gendistill.report.cells import byte_size, distance, duration, image_count, per_update, score_words
from gendistill.report.facts import accuracy_words, byte_columns, fidelity_columns
from gendistill.report.figures import Style, swatch
from gendistill.report.front import front_marks
from gendistill.report.markup import SPACE, escaped
from gendistill.report.rows import Row, Score, update_counts
from gendistill.report.terminal import distinct_cells, memory_columns, time_columns
from gendistill.report.verdict import Verdict

MOST_RATES = 12
"""Numbers of updates in the table of rates, at most."""
ENDLESS = 1e300
"""What fresh images without end sort as."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, what its cells say, and the numbers that they are sorted by (None: nothing)."""

    heading: str
    words: Sequence[str]
    values: Sequence[float | None]


def budget_columns(table: Sequence[Row]) -> list[Column]:
    """Return what teachers cost to store and to show."""
    endless = [ENDLESS if row.images is None else float(row.images) for row in table]
    found = [Column("images", [image_count(row.images, row.decoded) for row in table], endless)]
    if distinct := distinct_cells(table):
        found.append(Column("distinct", distinct, [None if row.distinct is None else row.distinct for row in table]))
    sizes = [[row.bytes for row in table], *([None if row.parts is None else row.parts[at] for row in table]
             for at in range(3))]  # fmt: skip
    for (heading, words), values in zip(byte_columns(table, "size"), sizes, strict=False):
        found.append(Column(heading, words, values))
    if any(row.images_per_update for row in table):
        shown = [row.images_per_update for row in table]
        found.append(Column("images an update", [per_update(one) for one in shown], shown))
    return found


def measured_columns(table: Sequence[Row]) -> list[Column]:
    """Return distances to real images, and seconds."""
    found = []
    for heading, cells in [*fidelity_columns(table), *fidelity_columns(table, "kernel")]:
        found.append(
            Column(heading, [distance(one) for one in cells], [None if one is None else one.value for one in cells])
        )
    found += [Column(heading, [duration(one) for one in cells], cells) for heading, cells in time_columns(table)]
    return found + [
        Column(heading, [byte_size(one) for one in cells], cells) for heading, cells in memory_columns(table)
    ]


def front_columns(found: Verdict) -> list[Column]:
    """Return the column that ticks the teachers on the Pareto front of stored bytes; none where there is no front."""
    marks = front_marks(found)
    return [Column("front", marks, [float(bool(mark)) for mark in marks])] if marks else []


def html_table(found: Verdict, looks: Mapping[str, Style], columns: Sequence[int] | None = None) -> str:
    """Return the ``<table>``: bold where a teacher is ahead of every other one, shaded where of all real data.

    Args:
        found: The conclusions, with their rows.
        looks: The teachers' colours and markers.
        columns: The numbers of updates to show; ``None`` chooses up to six.
    """
    table = found.table
    counts = update_counts(table, most=6, wanted=columns)
    budgets, after = budget_columns(table), [*front_columns(found), *measured_columns(table)]
    lines = []
    for place, row in enumerate(table):
        ahead = found.ahead(row.name)
        cells = [_cell(column, place) for column in budgets]
        cells += [
            _score(row.scores.get(count), best=found.best.get(count) == row.name, win=count in ahead)
            for count in counts
        ]
        cells += [_cell(column, place) for column in after]
        lines.append(f"<tr>{_name(row, looks[row.name], marked=found.marked(place))}{''.join(cells)}</tr>")
    group = (
        f'<th class="group" colspan="{len(counts)}"><span>{escaped(f"{accuracy_words(table)}, %, after n updates")}'
        "</span></th>"
        if counts
        else ""
    )
    first, last = 1 + len(budgets), 1 + len(budgets) + len(counts)
    counted = "".join(_heading(f"n{SPACE}={SPACE}{count:,}", first + at) for at, count in enumerate(counts))
    return _scrolled(
        '<table class="sorted">\n<thead><tr>'
        + _heading("teacher", 0, 'class="name" rowspan="2" ')
        + "".join(_heading(column.heading, 1 + at, 'rowspan="2" ') for at, column in enumerate(budgets))
        + group
        + "".join(_heading(column.heading, last + at, 'rowspan="2" ') for at, column in enumerate(after))
        + f"</tr>\n<tr>{counted}</tr></thead>\n<tbody>"
        + "\n".join(lines)
        + "</tbody>\n</table>"
    )


def rate_cells(table: Sequence[Row]) -> list[list[str]]:
    """Return the learning rate behind each point as rows of text, the heading first; empty where none is known.

    Where every teacher has one rate at all numbers of updates there is one column.
    """
    shown = [row for row in table if row.rates]
    if not shown:
        return []
    if all(len(set(row.rates.values())) == 1 for row in shown):
        return [["teacher", "learning rate"], *([row.name, next(iter(row.rates.values()))] for row in shown)]
    counts = update_counts(shown, most=MOST_RATES)
    return [
        ["teacher", *(f"n{SPACE}={SPACE}{count:,}" for count in counts)],
        *([row.name, *(row.rates.get(count, "–") for count in counts)] for row in shown),
    ]


def rate_table(table: Sequence[Row], looks: Mapping[str, Style]) -> str:
    """Return a small ``<table>`` of the learning rate behind each point, one row a teacher."""
    cells = rate_cells(table)
    if not cells:
        return ""
    by_name = {row.name: row for row in table}
    headings = "".join(f'<th scope="col">{escaped(heading)}</th>' for heading in cells[0][1:])
    lines = [
        f"<tr>{_name(by_name[name], looks[name], kind=False)}"
        + "".join(f"<td>{escaped(cell)}</td>" for cell in rates)
        + "</tr>"
        for name, *rates in cells[1:]
    ]
    return _scrolled(
        '<table class="small">\n<caption>Learning rate of the learners behind each point</caption>\n'
        f'<thead><tr><th class="name" scope="col">teacher</th>{headings}</tr></thead>\n'
        "<tbody>" + "\n".join(lines) + "</tbody>\n</table>"
    )


def sorted_table(cells: Sequence[Sequence[str]], values: Sequence[Sequence[float | None]]) -> str:
    """Return a ``<table>`` whose headings sort it.

    Args:
        cells: Rows of text, the heading first, names in the first column.
        values: For each row but the heading what its cells, but the first, are sorted by.
    """
    heading = _heading(cells[0][0], 0, 'class="name" ')
    heading += "".join(_heading(words, place) for place, words in enumerate(cells[0][1:], 1))
    lines = [
        f'<tr><th class="name" scope="row">{escaped(name)}</th>'
        + "".join(f"<td{_value(value)}>{escaped(word)}</td>" for word, value in zip(words, numbers, strict=True))
        + "</tr>"
        for (name, *words), numbers in zip(cells[1:], values, strict=True)
    ]
    body = "\n".join(lines)
    return _scrolled(f'<table class="sorted">\n<thead><tr>{heading}</tr></thead>\n<tbody>{body}</tbody>\n</table>')


def plain_table(cells: Sequence[Sequence[str]]) -> str:
    """Return a ``<table>`` of rows of text, the heading first, names in the first column."""
    heading = "".join(
        f'<th scope="col"{" class=" + chr(34) + "name" + chr(34) if not place else ""}>{escaped(cell)}</th>'
        for place, cell in enumerate(cells[0])
    )
    rows = []
    for row in cells[1:]:
        values = "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:])
        rows.append(f'<tr><th class="name" scope="row">{escaped(row[0])}</th>{values}</tr>')
    return _scrolled(f"<table>\n<thead><tr>{heading}</tr></thead>\n<tbody>{''.join(rows)}</tbody>\n</table>")


def _scrolled(table: str) -> str:
    hint = '<p class="hint" aria-hidden="true">scroll sideways for more →</p>'
    return f'<div class="scroll" tabindex="0">{table}</div>{hint}'


def _heading(words: str, place: int, more: str = "") -> str:
    """Return a heading that sorts; without the script its button does nothing, and says so."""
    button = f'<button type="button" disabled>{escaped(words)}</button>'
    return f'<th {more}scope="col" data-place="{place}">{button}</th>'


def _cell(column: Column, place: int) -> str:
    return f"<td{_value(column.values[place])}>{escaped(column.words[place])}</td>"


def _value(value: float | None) -> str:
    return f' data-value="{"" if value is None else format(value, ".9g")}"'


def _name(row: Row, look: Style, *, kind: bool = True, marked: bool = False) -> str:
    below = f"<small>{escaped(row.kind)}</small>" if kind and row.kind else ""
    mark = '<span class="mark" title="measured under other settings"> *</span>' if marked else ""
    name = f'<span class="who">{swatch(look)}<span>{escaped(row.name)}{mark}</span></span>'
    return f'<th class="name" scope="row">{name}{below}</th>'


def _score(score: Score | None, *, best: bool, win: bool) -> str:
    if score is None:
        return '<td data-value="">–</td>'
    classes = " ".join(name for name, on in (("best", best), ("win", win)) if on)
    mean, spread = score_words(score)
    std = f' <span class="std">± {spread}</span>' if spread else ""
    named = f' class="{classes}"' if classes else ""
    return f'<td{named}{_value(score.mean)}><span class="mean">{mean}</span>{std}</td>'
