"""The table and the scatter plot of a study."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

from gendistill import escapes
from gendistill.escapes import figure_text
from gendistill.evaluation.ranking import SUBSETS
from gendistill.report.cells import duration
from gendistill.words import counted

HEADINGS = {
    "all": "all",
    "top_half_by_score": "top half by score",
    "top_half_by_truth": "top half by truth",
}


def header(results: Mapping[str, Any]) -> list[str]:
    """Return the table's column names."""
    ranked = _ranked(results)
    columns = (
        [f"{what}, {HEADINGS[subset]}" for subset in SUBSETS for what in ("Spearman", "Kendall")] if ranked else []
    )
    return ["score", *columns, *(["top 1", "best of top 5", "best of top 10 %"] if ranked else []), "seconds"]


def table(results: Mapping[str, Any]) -> list[list[str]]:
    """Return the table's rows: one a score, correlations with their intervals, truth of what it would choose."""
    rows = []
    for label, one in results["rankings"].items():
        cells = [label]
        if "all" in one:
            cells += [correlation(one[subset][what]) for subset in SUBSETS for what in ("spearman", "kendall")]
            cells += [f"{100 * one['best'][what]:.1f}" for what in ("top_1", "top_5", "top_10_percent")]
        rows.append([*cells, duration(one["seconds"])])
    return rows


def correlation(one: Mapping[str, float | None]) -> str:
    """Return ``0.56 [0.31, 0.75]``, without an interval where there are too few, or a dash where it is not defined."""
    if one["value"] is None:
        return "–"
    known = one["low"] is not None
    return f"{one['value']:.2f}" + (f" [{one['low']:.2f}, {one['high']:.2f}]" if known else "")


def text(results: Mapping[str, Any]) -> str:
    """Return the result for a terminal: one block a score, since nine columns do not fit beside each other."""
    lines = []
    names, rows = header(results), table(results)
    if _ranked(results):
        for subset in SUBSETS:
            count = next(iter(_ranked(results).values()))[subset]["architectures"]
            places = [0, *(place for place, name in enumerate(names) if name.endswith(f", {HEADINGS[subset]}"))]
            lines += [
                f"{HEADINGS[subset]} ({counted(count, 'architecture')})",
                *_columns(names, rows, places, subset),
                "",
            ]
        places = [0, *range(len(names) - 4, len(names))]
        best = next(iter(_ranked(results).values()))["best"]
        lines += ["true accuracy of what is chosen, %", *_columns(names, rows, places, ""), ""]
        lines.append(f"best of all {100 * best['best']:.1f} %, mean {100 * best['mean']:.1f} %")
        seeds = results["truth"]["spearman_of_two_seeds"]
        if None not in seeds.values():
            half = f"{seeds['top_half_by_truth']:.2f} on its top half"
            lines.append(f"Spearman of two seeds of the truth: {seeds['all']:.2f} on all, {half}")
    found = results["found"]
    worth = f", truth {100 * found['truth']:.1f} %" if found["truth"] is not None else ""
    lines.append(f"found  {found['architecture']}  (score {100 * found['score']:.1f} %{worth})")
    for run, one in results.get("others", {}).items():
        share = f", better than {100 * one['better_than']:.0f} % of those" if one["better_than"] is not None else ""
        lines.append(f"found by {run}  {one['architecture']}  (truth {100 * one['truth']:.1f} %{share})")
    return "\n".join(lines)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table for a page."""
    rows = [list(map(escapes.markdown, line)) for line in (header(results), *table(results))]
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scatter(results: Mapping[str, Any], label: str) -> bytes:
    """Draw truth against a score as a PNG: top tenth as squares, the lower half pale, as in the paper's figure.

    Args:
        results: Of :meth:`gendistill.nas.study.Study.results`; at least three architectures with a truth.
        label: Which score.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = [
        (entry["proxies"][label]["score"], entry["truth"]["accuracy"])
        for entry in results["architectures"].values()
        if "truth" in entry and label in entry.get("proxies", {}) and math.isfinite(entry["proxies"][label]["score"])
    ]
    points.sort(key=lambda point: -point[0])
    tenth, half = max(1, round(len(points) / 10)), -(-len(points) // 2)
    figure = Figure(figsize=(5.6, 4.4), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    for part, style in (
        (points[half:], {"marker": "o", "color": "0.75", "label": "lower half by score"}),
        (points[tenth:half], {"marker": "o", "color": "tab:red", "label": "top half by score"}),
        (points[:tenth], {"marker": "s", "color": "tab:blue", "label": "top 10 % by score"}),
    ):
        axes.scatter([100 * x for x, _ in part], [100 * y for _, y in part], s=22, **style)  # type: ignore[arg-type]
    one = results["rankings"][label]
    axes.set_title(
        f"Spearman {correlation(one['all']['spearman'])} on all,\n"
        f"{correlation(one['top_half_by_score']['spearman'])} on the top half by score",
        fontsize=10,
    )
    axes.set_xlabel(f"validation accuracy after a few steps on '{figure_text(label)}', %")
    axes.set_ylabel("true accuracy, %")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(True, color="0.92")
    axes.set_axisbelow(True)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _ranked(results: Mapping[str, Any]) -> dict[str, Any]:
    return {label: one for label, one in results["rankings"].items() if "all" in one}


def _columns(names: list[str], rows: list[list[str]], places: list[int], subset: str) -> list[str]:
    titles = [names[place].removesuffix(f", {HEADINGS.get(subset, '')}") for place in places]
    lines = [titles, *([row[place] for place in places] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(places))]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
