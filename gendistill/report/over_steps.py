"""What runs showed over their steps, side by side: a row a run, a column a step."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from gendistill.data.pictures import pixels, read_picture
from gendistill.errors import UserError, did_you_mean
from gendistill.escapes import figure_text
from gendistill.files import atomic_write

MOST = 6
"""Columns: of more steps, that many at even distances, the last among them."""
STEP = re.compile(r"(?P<kind>.+)-(?P<step>\d{7,})\.png")


def sampled(run: str | Path, kind: str | None = None) -> tuple[str, dict[int, Path]]:
    """Return the pictures that a run wrote of its samples: their name, and each by its step.

    Args:
        run: Its directory.
        kind: The name before the step: ``points``, ``generator``, ``images`` and so on; None: the first.

    Raises:
        UserError: There are none of that name.
    """
    folder = Path(run) / "samples"
    found: dict[str, dict[int, Path]] = {}
    for file in sorted(folder.glob("*.png")) if folder.is_dir() else []:
        if match := STEP.fullmatch(file.name):
            found.setdefault(match["kind"], {})[int(match["step"])] = file
    if not found:
        raise UserError(f"'{run}' has no pictures; train with sample_every=N to have a look every N steps")
    kind = kind or next(iter(found))
    if kind not in found:
        raise UserError(f"'{run}' has no pictures '{kind}'; {did_you_mean(kind, found)}it has: {', '.join(found)}")
    return kind, dict(sorted(found[kind].items()))


def over_steps(runs: Mapping[str, str | Path], kind: str | None = None, *, most: int = MOST) -> Figure:
    """Return a figure of what runs showed at the steps that all of them have.

    Args:
        runs: Directories by the name of the row, at least one.
        kind: See :func:`sampled`.
        most: Steps that are shown, evenly spread.

    Raises:
        UserError: A run has no such samples, or they have no step in common.
    """
    shown = {name: sampled(run, kind)[1] for name, run in runs.items()}
    common = sorted(set.intersection(*(set(steps) for steps in shown.values())))
    if not common:
        raise UserError(f"the runs {', '.join(shown)} have no step in common at which they have pictures")
    last = len(common) - 1
    columns = sorted({common[round(place * last / max(1, most - 1))] for place in range(most)})
    figure = Figure(figsize=(1.6 * len(columns) + 0.6, 1.75 * len(shown) + 0.3), dpi=150, layout="constrained")
    places = figure.subplots(len(shown), len(columns), squeeze=False)
    for row, (name, steps) in zip(places, shown.items(), strict=True):
        for place, step in zip(row, columns, strict=True):
            place.imshow(pixels(read_picture(steps[step])).transpose(1, 2, 0))
            place.set_xticks([])
            place.set_yticks([])
            place.spines[:].set_visible(False)
        row[0].set_ylabel(figure_text(name), fontsize=9)
    for place, step in zip(places[0], columns, strict=True):
        place.set_title(f"step {step:,}", fontsize=8)
    return figure


def write(figure: Figure, path: str | Path) -> None:
    """Write a figure as the picture that the file's name says: PNG, SVG or PDF.

    Raises:
        StorageError: It cannot be written.
        UserError: The name ends otherwise.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in ("png", "svg", "pdf"):
        raise UserError(f"'{path}' is no name of a picture; end it in .png, .svg or .pdf")
    held = io.BytesIO()
    figure.savefig(held, format=kind)
    atomic_write(Path(path), lambda file: file.write(held.getvalue()) and None)
