"""The report: one HTML file with everything in it, readable in a light or a dark window and on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.files import atomic_write
from gendistill.plain import plain
from gendistill.report.architectures import architecture_cells, architecture_sentences, architecture_values
from gendistill.report.chosen import chosen, chosen_cells, chosen_sentences, chosen_values
from gendistill.report.drawing import MOST_BANDS, near_the_top
from gendistill.report.facts import (
    accuracy_words,
    byte_words,
    chosen_anew,
    has_spread,
    learners_of,
    over_words,
    rate_sentences,
    split_of,
)
from gendistill.report.figures import Style, differences, fronts_figure, learning_curves, line_figure, styles, swatch
from gendistill.report.findings import findings
from gendistill.report.front import Front, fronts
from gendistill.report.how import how_measured
from gendistill.report.html_table import html_table, plain_table, rate_table, sorted_table
from gendistill.report.markup import escaped, script_json
from gendistill.report.modes import mode_cells, mode_sentences
from gendistill.report.rows import Row
from gendistill.report.verdict import Verdict, verdict
from gendistill.words import counted

if TYPE_CHECKING:
    from torch import Tensor

    from gendistill.grids import Grid


def write_report(
    results: Mapping[str, Any],
    path: str | Path,
    images: Mapping[str, Tensor | Grid] | None = None,
    curves: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    title: str | None = None,
) -> Path:
    """Write a self-contained HTML report.

    Args:
        results: ``{"teachers": [result of an evaluation with a name, ...]}``; may hold ``curves`` too, and ``columns``:
            the numbers of updates that the table shows; and ``notes``: sentences about how the numbers came about.
        path: The file to write.
        images: By teacher's name; a grid that says what each is of, or pixels (N, C, H, W) in [0, 1], ten to a row.
            Other names get a grid of their own.
        curves: More lines by name: ``{"x": [...], "y": [...]}``, optionally ``lower``, ``upper``, ``reference``,
            ``x_label``, ``y_label`` and ``caption``.
        title: Headline; by default it names the data set.

    Returns:
        The path.

    Raises:
        StorageError: The file cannot be written.
        UserError: Something has not the form of results.
    """
    path = Path(path)
    text = render(results, images or {}, {**(results.get("curves") or {}), **(curves or {})}, title)
    atomic_write(path, lambda file: file.write(text.encode()) and None)
    return path


def render(
    results: Mapping[str, Any],
    images: Mapping[str, Tensor | Grid],
    curves: Mapping[str, Mapping[str, Any]],
    title: str | None = None,
) -> str:
    """Return the report's HTML; arguments as in :func:`write_report`."""
    found = verdict(results)
    table = found.table
    looks = styles(found.names, None if found.reference is None else found.reference.name)
    datasets = ", ".join(dict.fromkeys(str(one.get("dataset")) for one in results["teachers"] if one.get("dataset")))
    title = title or (f"How well they teach {datasets}" if datasets else "How well they teach")
    parts = [f"<h1>{escaped(title)}</h1>", f'<p class="lede">{escaped(_lede(table))}</p>']
    parts += [f'<p class="finding">{escaped(sentence)}</p>' for sentence in findings(found)]
    parts += ["<h2>Scores and what they cost</h2>", html_table(found, looks, results.get("columns"))]
    if found.against:
        parts += ["<h2>Difference to all real data</h2>", _differences(found, looks)]
    beside = chosen(found)
    if held := chosen_cells(found, beside, results.get("columns")):
        parts += ["<h2>Beside as many real images</h2>", sorted_table(held, chosen_values(beside, held))]
        parts += [f'<p class="note">{escaped(sentence)}</p>' for sentence in chosen_sentences(found, beside)]
    if modes := mode_cells(results):
        parts += ["<h2>Modes captured</h2>", plain_table(modes)]
        parts += [f'<p class="note">{escaped(sentence)}</p>' for sentence in mode_sentences(results)]
    if across := architecture_cells(results):
        parts += ["<h2>Several kinds of learners</h2>", sorted_table(across, architecture_values(results))]
        parts += [f'<p class="note">{escaped(sentence)}</p>' for sentence in architecture_sentences(results)]
    if found_fronts := fronts(found):
        parts += ["<h2>Accuracy against what it costs</h2>", *(_front(one, table, looks) for one in found_fronts)]
    if any(row.scores for row in table):
        parts += ["<h2>Accuracy against learner updates</h2>", _curves(table, looks)]
        if near_the_top(table):
            parts += ["<h2>Error against learner updates</h2>", _curves(table, looks, error=True)]
        parts.append(rate_table(table, looks))
    if any(row.epoch_updates for row in table):
        parts += ["<h2>Accuracy against epochs</h2>", _curves(table, looks, by_epoch=True)]
    if images:
        parts += ["<h2>What the learners see</h2>", _grids(table, looks, images)]
    for name, curve in curves.items():
        parts += [f"<h2>{escaped(name[:1].upper() + name[1:])}</h2>", _line(name, curve)]
    parts += ["<h2>How it was measured</h2>", how_measured(results, found)]
    return document(title, parts, results)


def document(title: str, parts: Sequence[str], results: Mapping[str, Any]) -> str:
    """Return a self-contained page: its style, its script and its numbers are in it.

    Args:
        title: What a window calls it, as text.
        parts: HTML.
        results: Plain values that it holds as JSON.
    """
    style, script = (packaged(name) for name in ("style.css", "page.js"))
    data = script_json(plain(plain(results), strict=True))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + '\n</main>\n<footer class="note">Written by gendistill. The numbers are in this file as JSON, in the element '
        f'with the id “results”.</footer>\n<script type="application/json" id="results">{data}</script>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def packaged(name: str) -> str:
    """Return a file of this folder as text."""
    return resources.files("gendistill.report").joinpath(name).read_text(encoding="utf-8")


def _lede(table: Sequence[Row]) -> str:
    count = f"{len(table)} teachers" if len(table) != 1 else "One teacher"
    if not any(row.scores for row in table):
        return f"{count}."
    learners, over, split = " or ".join(learners_of(table)), over_words(table), split_of(table)
    who = f"a fresh {learners}" if learners else "a fresh network"
    shown = "what it shows" if len(table) == 1 else "what each of them shows"
    where = f"the real images of the {split} split" if split else "real images"
    seeds = f", {over}{'' if len(table) == 1 else ' each'}" if over else ""
    return f"{count}: {who} is trained on {shown} and tested on {where}{seeds}."


def _legend(rows: Sequence[Row], looks: Mapping[str, Style]) -> str:
    return (
        f'<ul class="legend">{"".join(f"<li>{swatch(looks[row.name])}{escaped(row.name)}</li>" for row in rows)}</ul>'
    )


def _figure(drawing: str, caption: str) -> str:
    below = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return f'<figure class="lines"><div class="scroll" tabindex="0">{drawing}</div>{below}</figure>'


def _curves(table: Sequence[Row], looks: Mapping[str, Style], *, by_epoch: bool = False, error: bool = False) -> str:
    measured = [row for row in table if row.scores and (row.epoch_updates or not by_epoch)]
    accuracy = accuracy_words(table)
    described = "; ".join(
        f"{row.name} ends at {100 * row.scores[max(row.scores)].mean:.1f} % after {counted(max(row.scores), 'update')}"
        for row in measured
    )
    against = "the number of epochs" if by_epoch else "the number of learner updates, logarithmic"
    what = accuracy.replace("accuracy", "error, logarithmic,") if error else accuracy
    label = f"{what[:1].upper()}{what[1:]} against {against}. {described}."
    figure = learning_curves(measured, looks, label, accuracy=accuracy, by_epoch=by_epoch, error=error)
    over = over_words(measured)
    caption = [f"Mean over {over}." if over else "Means."]
    if spread := [row for row in measured if has_spread(row)]:
        many = len(spread) > MOST_BANDS
        bands = ("ars, beside one another for legibility," if many else "ands") + " are one standard deviation"
        of = over_words(spread)
        # A teacher of one learner has no band.
        bands += f", over {of}" if of and of != over else ""
        caption = [f"Mean over {over}; b{bands}." if over else f"B{bands}."]
    anew = chosen_anew(measured)
    if error:
        caption = ["100 % less the accuracy on a logarithmic axis, lower is better; what is below half a test image is "
                   "drawn there."]  # fmt: skip
    words = caption if error else [*caption, *rate_sentences(anew)]
    return f"{_legend(measured, looks)}\n{_figure(figure, ' '.join(words))}"


def _differences(found: Verdict, looks: Mapping[str, Style]) -> str:
    assert found.reference is not None
    shown = [row for row in found.others if found.counts(row.name)]
    number, name = len(found.against), found.reference.name
    described = "; ".join(
        f"{row.name} is decided to be ahead after {', '.join(f'{count:,}' for count in found.ahead(row.name))}"
        for row in shown
        if found.ahead(row.name)
    )
    label = f"Difference of accuracy to {name}, by the number of learner updates. {described or 'No lead is decided'}."
    ways = {one.paired for one in found.against.values()}
    how = {
        frozenset({True}): "taken seed by seed",
        frozenset({False}): "of independent seeds (Welch)",
    }.get(frozenset(ways), "taken seed by seed where the seeds are the same, else of independent seeds (Welch)")
    together = f"at the step of Holm's correction for {number} comparisons" if number > 1 else "of the one comparison"
    caption = (
        f"Difference to {name} in percentage points, {how}. Bars are 95 % intervals {together}; a filled mark is "
        "decided, and its bar leaves out 0; a hollow one is not."
    )
    return f"{_legend(shown, looks)}\n{_figure(differences(found, looks, label), caption)}"


def _front(found: Front, table: Sequence[Row], looks: Mapping[str, Style]) -> str:
    figure = fronts_figure(found, looks, found.sentence(), accuracy=accuracy_words(table))
    caption = f"{found.sentence()} Filled marks are on it; bars are one standard deviation."
    return f"{_legend([point.row for point in found.points], looks)}\n{_figure(figure, caption)}"


def _grids(table: Sequence[Row], looks: Mapping[str, Style], images: Mapping[str, Tensor | Grid]) -> str:
    from gendistill.grids import as_grid, empty_places
    from gendistill.report.pictures import data_address, png_grid, png_size

    by_name = {row.name: row for row in table}
    ordered = [name for name in by_name if name in images] + [name for name in images if name not in by_name]
    figures = []
    for name in ordered:
        row, grid = by_name.get(name), as_grid(images[name], 10)
        png = png_grid(grid)
        width, height = png_size(png)
        pictures = counted(empty_places(grid).count(False), "image")
        mark, cost = "", pictures
        if row is not None:
            stored = "fresh images" if row.images is None else counted(row.images, "image")
            stored += f" that show {row.decoded:,}" if row.decoded not in (None, row.images) else ""
            mark, cost = swatch(looks[name]), f"{stored}, {byte_words(row)}"
        figures.append(
            f'<figure>{_headings(grid)}<img src="{data_address(png)}" width="{width}" height="{height}" '
            f'alt="Grid of {pictures} of {escaped(name)}{_of(grid)}">'
            f"<figcaption><strong>{mark}{escaped(name)}</strong><br>{escaped(cost)}</figcaption></figure>"
        )
    return f'<div class="grids">{"".join(figures)}</div>'


def _headings(grid: Grid) -> str:
    """Return the names of a grid's columns above it; upright where they are long."""
    if not grid.headings:
        return ""
    upright = " upright" if max(map(len, grid.headings)) > 2 else ""
    names = "".join(f'<span title="{escaped(name)}">{escaped(name)}</span>' for name in grid.headings)
    return f'<div class="headings{upright}" style="--columns:{len(grid.headings)}" aria-hidden="true">{names}</div>'


def _of(grid: Grid) -> str:
    if grid.headings:
        return f", one column a class: {escaped(', '.join(grid.headings))}"
    return f", row by row: {escaped(', '.join(dict.fromkeys(grid.names)))}" if grid.names else ""


def _line(name: str, curve: Mapping[str, Any]) -> str:
    y = [value for value in curve["y"] if value is not None]
    label = f"{name}: from {y[0]:.3g} to {y[-1]:.3g}" if y else name
    caption = str(curve.get("caption", ""))
    if curve.get("reference") is not None and not caption:
        caption = f"Dashed: {float(curve['reference']):.4g}."
    return _figure(line_figure(name, curve, label), caption)
