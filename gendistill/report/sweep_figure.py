"""The figure of a sweep: accuracy against the option that was swept, with error bars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendistill.escapes import figure_text
from gendistill.files import atomic_write

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")


def draw_sweep(results: Mapping[str, Any], path: str | Path, label: str | None = None) -> None:
    """Draw the results of ``gendistill sweep`` as a PNG picture, completely or not at all.

    Values that are numbers stand where they belong, on a logarithmic axis if they span a factor of 20 and more; words
    stand side by side.

    Args:
        results: ``over``, ``seeds``, ``split`` and ``points``, as :func:`gendistill.commands.sweep.sweep` returns them.
        path: The PNG file.
        label: What the horizontal axis is called; None: the option's last name in words.

    Raises:
        StorageError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = results["points"]
    places, words = positions([point["value"] for point in points])
    names = list(dict.fromkeys(row["name"] for point in points for row in point["rows"]))
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, name in enumerate(names):
        found = [
            (place, row["accuracy"])
            for place, point in zip(places, points, strict=True)
            for row in point["rows"]
            if row["name"] == name and row["accuracy"] is not None
        ]
        axes.errorbar(
            [place for place, _ in found],
            [100 * accuracy["mean"] for _, accuracy in found],
            [100 * (accuracy["std"] or 0.0) for _, accuracy in found],
            label=figure_text(name),
            marker=MARKERS[number % len(MARKERS)],
            linestyle=DASHES[number % len(DASHES)],
            capsize=3,
        )
    if words is not None:
        axes.set_xticks(places, list(map(figure_text, words)))
    elif min(places) > 0 and max(places) >= 20 * min(places):
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
    runs = len(results["seeds"])
    axes.set_xlabel(figure_text(label) if label else figure_text(results["over"].rpartition(".")[2].replace("_", " ")))
    accuracy = f"{figure_text(results['split'])} accuracy in %" if results.get("split") else "accuracy in %"
    axes.set_ylabel(f"{accuracy} (mean ± std of {runs} runs)" if runs > 1 else accuracy)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=150))


def positions(values: list[str]) -> tuple[list[float], list[str] | None]:
    """Return where values stand on the axis, and what is written there if they are not all different numbers."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return [float(place) for place in range(len(values))], values
    return numbers, None
