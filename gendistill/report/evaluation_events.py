"""An evaluation in TensorBoard: its last accuracy and its distance as numbers, its curve as a figure.

TensorBoard's curves have a linear axis and are smoothed; a curve over 1 to 1,000 updates is a wall at the left there,
and a value of ten points that was never measured. A figure is what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.errors import PlaceError
from gendistill.files import place_sentence
from gendistill.report.drawing import PRINT, learning_figure, near_the_top, styles
from gendistill.report.facts import accuracy_words
from gendistill.report.rows import Row, reference_of, rows

DPI = 130


def write_evaluation_events(results: Sequence[Mapping[str, Any]], folder: str | Path, *, figures: bool = True) -> None:
    """Write results for TensorBoard; what the folder held of it is replaced.

    Args:
        results: One evaluation, or several for figures of all of them; numbers are those of the first.
        folder: Where the events go.
        figures: Whether curves are drawn beside the numbers.

    Raises:
        PlaceError: Nothing can be written there.
    """
    from torch.utils.tensorboard import SummaryWriter

    folder, table = Path(folder), rows({"teachers": list(results)})
    try:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        with SummaryWriter(str(folder)) as writer:
            if len(table) == 1:
                for tag, value in numbers(table[0]).items():
                    writer.add_scalar(tag, value, max(table[0].scores, default=0))
            for name, figure in (_figures(table) if figures else {}).items():
                writer.add_image(f"evaluation/{name}", _pixels(figure), 0, dataformats="HWC")
    except OSError as error:
        raise PlaceError(place_sentence(folder, error)) from error


def numbers(row: Row) -> dict[str, float]:
    """Return an evaluation's numbers by tag: accuracy after the last update with its spread, and the distance."""
    found = {}
    if row.scores:
        last = row.scores[max(row.scores)]
        found["evaluation/accuracy"] = last.mean
        if last.std is not None:
            found["evaluation/accuracy_std"] = last.std
    if row.fidelity is not None:
        found["evaluation/fd"] = row.fidelity.value
    return found


def _figures(table: Sequence[Row]) -> dict[str, Any]:
    measured = [row for row in table if any(row.scores)]
    if not measured:
        return {}
    reference = reference_of(table)
    looks = styles([row.name for row in table], None if reference is None else reference.name)
    accuracy = accuracy_words(table)
    drawn = {"learning_curve": learning_figure(measured, looks, PRINT, accuracy=accuracy)}
    if near_the_top(measured):
        drawn["learning_curve_error"] = learning_figure(measured, looks, PRINT, accuracy=accuracy, error=True)
    return drawn


def _pixels(figure: Any) -> Any:
    import numpy
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.patch.set(alpha=1.0, facecolor="white")
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return numpy.asarray(canvas.buffer_rgba())[:, :, :3].copy()
