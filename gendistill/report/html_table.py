"""The report's table: scores with their budgets beside them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from gendistill.report.figures import Style, swatch
from gendistill.report.findings import wins
from gendistill.report.rows import (
    Row,
    Score,
    byte_size,
    duration,
    fidelity_name,
    image_count,
    number,
    update_counts,
)


def html_table(table: Sequence[Row], looks: Mapping[str, Style], columns: Sequence[int] | None = None) -> str:
    """Return the ``<table>``: best score of a column in bold, scores ahead of all real data shaded.

    Args:
        table: The teachers, one row each.
        looks: Their colours and markers.
        columns: The numbers of updates to show; ``None`` chooses up to six.
    """
    counts = update_counts(table, most=6, wanted=columns)
    fidelity = fidelity_name(table)
    reference = next((row for row in table if row.is_reference), None)
    best = {count: max(row.scores[count].mean for row in table if count in row.scores) for count in counts}
    lines = []
    for row in table:
        ahead = wins(row, reference) if reference and row is not reference else []
        cells = [f"<td>{image_count(row.images)}</td><td>{byte_size(row.bytes)}</td>"]
        cells += [_score(row.scores.get(count), best[count], count in ahead) for count in counts]
        if fidelity:
            cells.append(f"<td>{number(row.fidelity[1]) if row.fidelity else '–'}</td>")
        cells.append(f"<td>{duration(row.seconds)}</td>")
        kind = f"<small>{html.escape(row.kind)}</small>" if row.kind else ""
        lines.append(
            f'<tr><th scope="row">{swatch(looks[row.name])}{html.escape(row.name)}{kind}</th>{"".join(cells)}</tr>'
        )
    group = f'<th class="group" colspan="{len(counts)}">test accuracy, %, after n updates</th>' if counts else ""
    last = f'<th rowspan="2" scope="col">{html.escape(fidelity)}</th>' if fidelity else ""
    two = 'rowspan="2" scope="col"'
    counted = "".join(f'<th scope="col">n = {count:,}</th>' for count in counts)
    return (
        f'<div class="scroll"><table>\n<thead><tr><th class="name" {two}>teacher</th><th {two}>images</th>'
        f'<th {two}>size</th>{group}{last}<th class="end" {two}>seconds</th></tr>\n<tr>{counted}</tr></thead>\n<tbody>'
        + "\n".join(lines)
        + "</tbody>\n</table></div>"
    )


def _score(score: Score | None, best: float, ahead: bool) -> str:
    if score is None:
        return "<td>–</td>"
    classes = " ".join(name for name, on in (("best", score.mean == best), ("win", ahead)) if on)
    std = f' <span class="std">± {100 * score.std:.1f}</span>' if score.runs != 1 else ""
    return f'<td class="{classes}"><span class="mean">{100 * score.mean:.1f}</span>{std}</td>'.replace(' class=""', "")
