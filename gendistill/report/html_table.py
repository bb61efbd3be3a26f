"""The report's tables: scores with their budgets beside them, and the learning rates behind a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gendistill.report.cells import distance, duration, image_count, per_update
from gendistill.report.facts import accuracy_words, byte_columns, fidelity_columns
from gendistill.report.figures import Style, swatch
from gendistill.report.markup import escaped
from gendistill.report.rows import Row, Score, update_counts
from gendistill.report.terminal import time_columns
from gendistill.report.verdict import Verdict

MOST_RATES = 12
"""Numbers of updates in the table of rates, at most."""


def html_table(found: Verdict, looks: Mapping[str, Style], columns: Sequence[int] | None = None) -> str:
    """Return the ``<table>``: bold where a teacher is ahead of every other one, shaded where of all real data.

    Args:
        found: The conclusions, with their rows.
        looks: The teachers' colours and markers.
        columns: The numbers of updates to show; ``None`` chooses up to six.
    """
    table = found.table
    counts = update_counts(table, most=6, wanted=columns)
    budgets = [
        ("images", [image_count(row.images, row.decoded) for row in table]),
        *byte_columns(table, "size"),
    ]
    if any(row.images_per_update for row in table):
        budgets.append(("images an update", [per_update(row.images_per_update) for row in table]))
    measured = [*fidelity_columns(table), *fidelity_columns(table, "kernel")]
    after = [(heading, [distance(one) for one in cells]) for heading, cells in measured]
    after += [(heading, [duration(one) for one in cells]) for heading, cells in time_columns(table)]
    lines = []
    for place, row in enumerate(table):
        ahead = found.ahead(row.name)
        cells = [f"<td>{escaped(cells[place])}</td>" for _, cells in budgets]
        cells += [
            _score(row.scores.get(count), best=found.best.get(count) == row.name, win=count in ahead)
            for count in counts
        ]
        cells += [f"<td>{escaped(cells[place])}</td>" for _, cells in after]
        lines.append(f"<tr>{_name(row, looks[row.name], marked=found.marked(place))}{''.join(cells)}</tr>")
    group = (
        f'<th class="group" colspan="{len(counts)}"><span>{escaped(f"{accuracy_words(table)}, %, after n updates")}'
        "</span></th>"
        if counts
        else ""
    )
    counted = "".join(f'<th scope="col">n = {count:,}</th>' for count in counts)
    return _scrolled(
        f'<table>\n<thead><tr><th class="name" rowspan="2" scope="col">teacher</th>{_headings(budgets)}{group}'
        f"{_headings(after)}</tr>\n<tr>{counted}</tr></thead>\n<tbody>" + "\n".join(lines) + "</tbody>\n</table>"
    )


def rate_table(table: Sequence[Row], looks: Mapping[str, Style]) -> str:
    """Return a small ``<table>`` of the learning rate behind each point, one row a teacher."""
    shown = [row for row in table if row.rates]
    counts = update_counts(shown, most=MOST_RATES)
    headings = "".join(f'<th scope="col">n = {count:,}</th>' for count in counts)
    lines = [
        f"<tr>{_name(row, looks[row.name], kind=False)}"
        + "".join(f"<td>{escaped(row.rates.get(count, '–'))}</td>" for count in counts)
        + "</tr>"
        for row in shown
    ]
    return _scrolled(
        f'<table class="small">\n<thead><tr><th class="name" scope="col">learning rate</th>{headings}</tr></thead>\n'
        "<tbody>" + "\n".join(lines) + "</tbody>\n</table>"
    )


def _scrolled(table: str) -> str:
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _headings(columns: Sequence[tuple[str, list[str]]]) -> str:
    return "".join(f'<th rowspan="2" scope="col">{escaped(heading)}</th>' for heading, _ in columns)


def _name(row: Row, look: Style, *, kind: bool = True, marked: bool = False) -> str:
    below = f"<small>{escaped(row.kind)}</small>" if kind and row.kind else ""
    mark = '<span class="mark" title="measured under other settings"> *</span>' if marked else ""
    return f'<th class="name" scope="row">{swatch(look)}{escaped(row.name)}{mark}{below}</th>'


def _score(score: Score | None, *, best: bool, win: bool) -> str:
    if score is None:
        return "<td>–</td>"
    classes = " ".join(name for name, on in (("best", best), ("win", win)) if on)
    spread = score.std is not None and score.runs != 1
    std = f' <span class="std">± {100 * (score.std or 0.0):.1f}</span>' if spread else ""
    return f'<td class="{classes}"><span class="mean">{100 * score.mean:.1f}</span>{std}</td>'.replace(' class=""', "")


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
    table = f"<table>\n<thead><tr>{heading}</tr></thead>\n<tbody>{''.join(rows)}</tbody>\n</table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'
