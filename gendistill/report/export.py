"""Results as files for a paper: figures as SVG and PDF, tables as CSV and LaTeX.

Figures are vectors at the size of a page's text, drawn by the functions that draw the page's. In a CSV every number
stands with all its digits; in LaTeX the tables look as on the page (``\\usepackage{booktabs}``).
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.escapes import OTHER_LETTER, latex, spreadsheet_cell
from gendistill.files import atomic_write, require_place
from gendistill.plain import plain
from gendistill.report.architectures import architecture_cells, long_table
from gendistill.report.cells import score_words
from gendistill.report.chosen import chosen, chosen_cells, chosen_table
from gendistill.report.drawing import (
    PRINT,
    Form,
    differences_figure,
    front_figure,
    learning_figure,
    named_curve_figure,
    near_the_top,
    styles,
)
from gendistill.report.facts import accuracy_words
from gendistill.report.front import front_marks, fronts
from gendistill.report.how import settings
from gendistill.report.html_table import budget_columns, front_columns, measured_columns, rate_cells
from gendistill.report.markup import SPACE
from gendistill.report.modes import mode_cells
from gendistill.report.picture_figures import grid_figure
from gendistill.report.rows import Row, update_counts
from gendistill.report.verdict import Verdict, verdict
from gendistill.visible import seen, visible

if TYPE_CHECKING:
    from torch import Tensor

    from gendistill.grids import Grid

FORMS = ("svg", "pdf")
FURTHER_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans",
    "Microsoft YaHei", "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari",
)  # fmt: skip
MOST = 6
"""Numbers of updates in the LaTeX table."""


@dataclass(frozen=True)
class Cells:
    """A table of text that is LaTeX already: heading first, the first column to the left, the others to the right."""

    rows: Sequence[Sequence[str]]
    above: str = ""
    columns: str | None = None


def export(
    results: Mapping[str, Any],
    folder: str | Path,
    images: Mapping[str, Tensor | Grid] | None = None,
    *,
    width: float = PRINT.width,
) -> list[Path]:
    """Write everything that the report shows as files for a paper.

    Args:
        results: As for :func:`gendistill.report.page.write_report`.
        folder: Where the files go; those of the same names are replaced.
        images: As for it.
        width: Of the figures, in inches.

    Returns:
        The files: ``accuracy``, ``error`` (of accuracies from 80 %), ``epochs``, ``differences``, ``front`` and
        ``front-cpu`` (accuracy against bytes and against CPU seconds), one for each further curve and one for each grid
        of images as ``.svg`` and ``.pdf``; ``scores``, ``rates``, ``differences``, ``baselines``, ``learners``,
        ``modes`` and ``settings`` as ``.csv`` and ``.tex``; ``runs.csv`` with every single accuracy; ``preview.tex``,
        which shows all of them.

    Raises:
        StorageError: A file cannot be written.
        UserError: Something has not the form of results.
    """
    folder = Path(folder)
    results = seen(plain(results))
    found = verdict(results)
    form = replace(PRINT, width=width)
    figures, tables = _figures(results, found, images or {}, form), _tables(results, found)
    written = []
    for name, figure in figures.items():
        written += [_written(folder / f"{name}.{ending}", _drawn(figure, ending, name)) for ending in FORMS]
    for name, (heading, *rows) in _numbers(results, found).items():
        written.append(_written(folder / f"{name}.csv", csv_text(heading, rows).encode()))
    for name, cells in tables.items():
        written.append(_written(folder / f"{name}.tex", latex_table(cells).encode()))
    written.append(_written(folder / "preview.tex", _preview(list(figures), list(tables)).encode()))
    return written


def csv_text(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV: numbers with all their digits, names that no spreadsheet computes, nothing for None."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(map(spreadsheet_cell, heading))
    for row in rows:
        writer.writerow([spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return buffer.getvalue()


def latex_table(cells: Cells) -> str:
    """Return a ``tabular`` with the rules of booktabs."""
    columns = cells.columns or "l" + "r" * (len(cells.rows[0]) - 1)
    lines = [" & ".join(row) + r" \\" for row in cells.rows]
    parts = ["% needs \\usepackage{booktabs}", OTHER_LETTER, rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    parts += [cells.above] if cells.above else []
    return "\n".join([*parts, lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}", ""])


def _figures(results: Mapping[str, Any], found: Verdict, images: Mapping[str, Any], form: Form) -> dict[str, Any]:
    table = found.table
    looks = styles(found.names, None if found.reference is None else found.reference.name)
    drawn: dict[str, Any] = {}
    measured, accuracy = [row for row in table if row.scores], accuracy_words(table)
    if measured:
        drawn["accuracy"] = learning_figure(measured, looks, form, accuracy=accuracy)
        if near_the_top(table):
            drawn["error"] = learning_figure(measured, looks, form, accuracy=accuracy, error=True)
    if by_epoch := [row for row in measured if row.epoch_updates]:
        drawn["epochs"] = learning_figure(by_epoch, looks, form, accuracy=accuracy, by_epoch=True)
    if found.against:
        drawn["differences"] = differences_figure(found, looks, form)
    for one, name in zip(fronts(found), ("front", "front-cpu"), strict=False):
        drawn[name] = front_figure(one, looks, form, accuracy=accuracy)
    for name, curve in (results.get("curves") or {}).items():
        drawn[_free(f"curve-{_file_name(name)}", drawn)] = named_curve_figure(name, curve, form)
    for name, pictures in images.items():
        drawn[_free(f"images-{_file_name(name)}", drawn)] = grid_figure(pictures, form)
    return drawn


def _drawn(figure: Any, ending: str, name: str) -> bytes:
    """Return a figure as a file: the same bytes each time, with letters that need no font where it is read."""
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"Date": None} if ending == "svg" else {"CreationDate": None}
    # TrueType letters are embedded in a PDF and can be searched there; in an SVG letters are shapes.
    settings: Any = {"svg.fonttype": "path", "svg.hashsalt": name, "pdf.fonttype": 42, "font.family": fonts()}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # an empty box says it, too
        figure.savefig(buffer, format=ending, metadata=metadata, dpi=300)
    return buffer.getvalue()


def fonts() -> list[str]:
    """Return the font of figures, and behind it those of further scripts that this machine has."""
    from matplotlib.font_manager import get_font_names

    there = set(get_font_names())
    return ["DejaVu Sans", *(font for font in FURTHER_FONTS if font in there)]


def _numbers(results: Mapping[str, Any], found: Verdict) -> dict[str, list[list[Any]]]:
    """Return the tables for a CSV, numbers as numbers, the heading first."""
    table = found.table
    counts = sorted({count for row in table for count in row.scores})
    heading = ["teacher", "kind", "images", "distinct images", "bytes", "image bytes", "label bytes", "labeller bytes"]
    heading += ["images an update"]
    heading += [f"{what} n={count}" for count in counts for what in ("accuracy mean", "accuracy std")]
    measured, marks = measured_columns(table), front_marks(found)
    rows: list[list[Any]] = []
    for place, row in enumerate(table):
        shown = None if row.images_per_update is None else round(row.images_per_update, 6)
        scores = [row.scores.get(count) for count in counts]
        rows.append([
            *(row.name, row.kind, "fresh" if row.images is None else row.images, row.distinct, row.bytes),
            *(row.parts or (None, None, None)), shown,
            *(value for one in scores for value in ((None, None) if one is None else (one.mean, one.std))),
            *(column.values[place] for column in measured),
            *(["yes" if marks[place] else "no"] if marks else []),
        ])  # fmt: skip
    heading += [column.heading.replace(SPACE, " ") for column in measured] + (["front"] if marks else [])
    numbers: dict[str, list[list[Any]]] = {"scores": [heading, *rows]}
    runs = [
        [row.name, count, _seed(row, place), value, row.rates.get(count)]
        for row in table
        for count, score in row.scores.items()
        for place, value in enumerate(score.values)
    ]
    if runs:
        numbers["runs"] = [["teacher", "updates", "seed", "accuracy", "learning rate"], *runs]
    if rates := rate_cells(table):
        numbers["rates"] = [list(row) for row in rates]
    if found.against:
        heading = ["teacher", "updates", "difference", "low", "high", "decided", "paired"]
        numbers["differences"] = [heading, *(
            [name, count, one.mean, one.low, one.high, "yes" if one.decided else "no", "yes" if one.paired else "no"]
            for (name, count), one in found.against.items()
        )]  # fmt: skip
    if beside := chosen_table(chosen(found)):
        numbers["baselines"] = beside
    if learners := long_table(results):
        numbers["learners"] = learners
    if modes := mode_cells(results):
        numbers["modes"] = [list(row) for row in modes]
    numbers["settings"] = [["setting", "value"], *(list(one) for one in settings(results, table))]
    return numbers


def _tables(results: Mapping[str, Any], found: Verdict) -> dict[str, Cells]:
    """Return the tables for LaTeX."""
    tables = {"scores": _scores(results, found)}
    if rates := rate_cells(found.table):
        tables["rates"] = _escaped(rates)
    if found.against:
        tables["differences"] = _differences(found)
    if beside := chosen_cells(found, chosen(found), results.get("columns")):
        tables["baselines"] = _escaped(beside)
    if learners := architecture_cells(results):
        tables["learners"] = _escaped(learners)
    if modes := mode_cells(results):
        tables["modes"] = _escaped(modes)
    said = settings(results, found.table)
    tables["settings"] = replace(_escaped([("setting", "value"), *said]), columns=r"lp{0.7\linewidth}")
    return tables


def _scores(results: Mapping[str, Any], found: Verdict) -> Cells:
    """Return the table of scores: bold as on the page, ``$^{*}$`` where a teacher is ahead of all real data."""
    table = found.table
    counts = update_counts(table, most=MOST, wanted=results.get("columns"))
    budgets, after = budget_columns(table), [*front_columns(found), *measured_columns(table)]
    heading = ["teacher", *(column.heading for column in budgets), *(f"{count:,}" for count in counts),
               *(column.heading for column in after)]  # fmt: skip
    rows = [[latex(cell) for cell in heading]]
    for place, row in enumerate(table):
        ahead = found.ahead(row.name)
        cells = [latex(row.name), *(latex(column.words[place]) for column in budgets)]
        cells += [_score(row, count, found.best.get(count) == row.name, count in ahead) for count in counts]
        rows.append([*cells, *(latex(column.words[place]) for column in after)])
    above = ""
    if counts:
        first, last = 2 + len(budgets), 1 + len(budgets) + len(counts)
        words = latex(f"{accuracy_words(table)} in % after n learner updates")
        before, behind = "& " * (1 + len(budgets)), " &" * len(after)
        rule = rf"\cmidrule(lr){{{first}-{last}}}"
        above = rf"{before}\multicolumn{{{len(counts)}}}{{c}}{{{words}}}{behind} \\ {rule}"
    return Cells(rows, above)


def _score(row: Row, count: int, best: bool, ahead: bool) -> str:
    if count not in row.scores:
        return "--"
    mean, spread = score_words(row.scores[count])
    shown = rf"\textbf{{{mean}}}" if best else mean
    return shown + (rf" $\pm$ {spread}" if spread else "") + ("$^{*}$" if ahead else "")


def _differences(found: Verdict) -> Cells:
    def words(name: str, count: int) -> str:
        one = found.against[name, count]
        mean = f"${100 * one.mean:+.1f}$"
        if one.low is None or one.high is None:
            return mean
        shown = rf"{mean} $[{100 * one.low:.1f}, {100 * one.high:.1f}]$"
        return rf"\textbf{{{mean}}}" + shown[len(mean) :] if one.decided else shown

    counts = sorted({count for _, count in found.against})
    names = dict.fromkeys(name for name, _ in found.against)
    counts = [count for place, count in enumerate(counts) if len(counts) <= MOST or place in _evenly(len(counts), MOST)]
    rows = [["teacher", *(f"$n = {count}$" for count in counts)]]
    rows += [[latex(name), *(words(name, count) if (name, count) in found.against else "--" for count in counts)]
             for name in names]  # fmt: skip
    return Cells(rows)


def _evenly(number: int, most: int) -> set[int]:
    return {round(place * (number - 1) / (most - 1)) for place in range(most)}


def _escaped(rows: Sequence[Sequence[str]]) -> Cells:
    return Cells([[latex(cell) for cell in row] for row in rows])


def _preview(figures: Sequence[str], tables: Sequence[str]) -> str:
    """Return a document that shows every figure and table as a paper would."""
    parts = [
        r"\documentclass{article}",
        "% pdflatex preview.tex, in this folder, shows every file; copy from here what a paper is to show",
        r"\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}\usepackage{booktabs,graphicx}",
        r"\usepackage[margin=2.5cm]{geometry}",
        r"\begin{document}",
    ]
    fitting = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"
    for name in tables:
        table = rf"\input{{{name}.tex}}"
        shown = table if name == "settings" else f"{fitting}{{{table}}}"
        parts.append(rf"\section*{{{name}}}\begin{{center}}{shown}\end{{center}}")
    for name in figures:
        shown = rf"\includegraphics[width=\linewidth]{{{name}.pdf}}"
        parts.append(rf"\section*{{{latex(name)}}}\begin{{center}}{shown}\end{{center}}")
    return "\n".join([*parts, r"\end{document}", ""])


def _seed(row: Row, place: int) -> str | int:
    seed = row.seeds[place] if row.seeds and place < len(row.seeds) else place
    return seed if isinstance(seed, int) else " ".join(map(str, seed)) if isinstance(seed, tuple) else str(seed)


def _file_name(name: str) -> str:
    """Return a name of letters, digits and hyphens alone, as every file system and LaTeX take it."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in visible(name, 60).lower())
    return "-".join(filter(None, kept.split("-"))) or "unnamed"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Return a name that is not taken: itself, or with a number."""
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(one for one in names if one not in taken)


def _written(path: Path, content: bytes) -> Path:
    require_place(path)
    atomic_write(path, lambda file: file.write(content) and None)
    return path
