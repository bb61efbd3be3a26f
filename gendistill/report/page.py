"""The report: one HTML file with everything in it, readable in a light or a dark window and on paper."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.files import atomic_write
from gendistill.report.figures import Style, learning_curves, line_figure, styles, swatch
from gendistill.report.findings import findings
from gendistill.report.html_table import html_table
from gendistill.report.rows import Row, byte_size, image_count, rows

if TYPE_CHECKING:
    from torch import Tensor


def write_report(
    results: Mapping[str, Any],
    path: str | Path,
    images: Mapping[str, Tensor] | None = None,
    curves: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    title: str | None = None,
) -> Path:
    """Write a self-contained HTML report.

    Args:
        results: ``{"teachers": [result of an evaluation with a name, ...]}``; may hold ``curves`` too, and ``columns``:
            the numbers of updates that the table shows; and ``notes``: sentences about how the numbers came about.
        path: The file to write.
        images: Pixels (N, C, H, W) in [0, 1] by teacher's name, ten to a row; other names get a grid of their own.
        curves: More lines by name: ``{"x": [...], "y": [...]}``, optionally ``lower``, ``upper``, ``reference``,
            ``x_label``, ``y_label`` and ``caption``.
        title: Headline; by default it names the data set.

    Returns:
        The path.

    Raises:
        StorageError: The file cannot be written.
    """
    path = Path(path)
    text = render(results, images or {}, {**results.get("curves", {}), **(curves or {})}, title)
    atomic_write(path, lambda file: file.write(text.encode()) and None)
    return path


def render(
    results: Mapping[str, Any],
    images: Mapping[str, Tensor],
    curves: Mapping[str, Mapping[str, Any]],
    title: str | None = None,
) -> str:
    """Return the report's HTML; arguments as in :func:`write_report`."""
    table = rows(results)
    looks = styles([row.name for row in table])
    datasets = ", ".join(dict.fromkeys(str(one.get("dataset")) for one in results["teachers"] if one.get("dataset")))
    title = title or (f"How well they teach {datasets}" if datasets else "How well they teach")
    parts = [f"<h1>{_text(title)}</h1>", f'<p class="lede">{_text(_lede(table))}</p>']
    parts += [f'<p class="finding">{_text(sentence)}</p>' for sentence in findings(table)]
    parts += ["<h2>Scores and what they cost</h2>", html_table(table, looks, results.get("columns"))]
    if any(row.scores for row in table):
        parts += ["<h2>Accuracy against learner updates</h2>", _curves(table, looks)]
    if any(row.epoch_updates for row in table):
        parts += ["<h2>Accuracy against epochs</h2>", _curves(table, looks, by_epoch=True)]
    if images:
        parts += ["<h2>What the learners see</h2>", _grids(table, looks, images)]
    for name, curve in curves.items():
        parts += [f"<h2>{_text(name[:1].upper() + name[1:])}</h2>", _line(name, curve)]
    parts += ["<h2>How it was measured</h2>", _protocol(results)]
    style = resources.files("gendistill.report").joinpath("style.css").read_text(encoding="utf-8")
    data = json.dumps(results, default=str).replace("</", "<\\/")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + '\n</main>\n<footer class="note">Written by gendistill. The numbers are in this file as JSON, in the element '
        f'with the id “results”.</footer>\n<script type="application/json" id="results">{data}</script>\n'
        "</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _lede(table: Sequence[Row]) -> str:
    seeds = max((score.runs for row in table for score in row.scores.values()), default=0)
    learners = ", ".join(dict.fromkeys(row.learner for row in table if row.learner))
    count = f"{len(table)} teachers" if len(table) != 1 else "One teacher"
    who = f"a fresh {learners}" if learners else "a fresh network"
    over = f", {seeds} seeds each" if seeds else ""
    return f"{count}: {who} is trained on what each of them shows and tested on real images{over}."


def _curves(table: Sequence[Row], looks: Mapping[str, Style], *, by_epoch: bool = False) -> str:
    described = "; ".join(
        f"{row.name} ends at {100 * row.scores[max(row.scores)].mean:.1f} % after {max(row.scores):,} updates"
        for row in table
        if row.scores
    )
    against = "the number of epochs" if by_epoch else "the number of learner updates, logarithmic"
    label = f"Test accuracy against {against}. {described}."
    legend = "".join(f"<li>{swatch(looks[row.name])}{_text(row.name)}</li>" for row in table)
    figure = learning_curves(table, looks, label, by_epoch=by_epoch)
    return (
        f'<ul class="legend">{legend}</ul>\n<figure class="lines">{figure}'
        "<figcaption>Mean over seeds; bands are one standard deviation.</figcaption></figure>"
    )


def _grids(table: Sequence[Row], looks: Mapping[str, Style], images: Mapping[str, Tensor]) -> str:
    from gendistill.report.pictures import data_address, png_grid, png_size

    by_name = {row.name: row for row in table}
    ordered = [name for name in by_name if name in images] + [name for name in images if name not in by_name]
    figures = []
    for name in ordered:
        png = png_grid(images[name])
        width, height = png_size(png)
        row = by_name.get(name)
        stored = "fresh images" if row and row.images is None else f"{image_count(row.images)} images" if row else ""
        cost = f"{stored}, {byte_size(row.bytes)}" if row else f"{len(images[name])} images"
        mark = swatch(looks[name]) if row else ""
        figures.append(
            f'<figure><img src="{data_address(png)}" width="{width}" height="{height}" '
            f'alt="Grid of {len(images[name])} images of {_text(name)}">'
            f"<figcaption><strong>{mark}{_text(name)}</strong><br>{_text(cost)}</figcaption></figure>"
        )
    return f'<div class="grids">{"".join(figures)}</div>'


def _line(name: str, curve: Mapping[str, Any]) -> str:
    y = [value for value in curve["y"] if value is not None]
    label = f"{name}: from {y[0]:.3g} to {y[-1]:.3g}" if y else name
    caption = str(curve.get("caption", ""))
    if curve.get("reference") is not None and not caption:
        caption = f"Dashed: {float(curve['reference']):.4g}."
    below = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return f'<figure class="lines">{line_figure(name, curve, label)}{below}</figure>'


def _protocol(results: Mapping[str, Any]) -> str:
    """List what all teachers have in common, as the evaluators wrote it."""
    shared: dict[str, list[str]] = {}
    for one in results["teachers"]:
        learning, fidelity = one.get("learning", {}), one.get("fidelity") or {}
        for key in (
            "learner",
            "batch_size",
            "optimizer",
            "lr",
            "momentum",
            "weight_decay",
            "schedule",
            "augment",
            "augment_mode",
            "augment_strength",
            "generated",
            "epochs",
            "protocol",
            "labels",
            "split",
        ):
            if learning.get(key) is not None:
                shared.setdefault(key.replace("_", " "), []).append(_plain(learning[key]))
        if fidelity.get("value") is not None:
            count = f" on {int(fidelity['n']):,} images" if fidelity.get("n") else ""
            shared.setdefault("fidelity", []).append(f"{fidelity.get('name')}{count}, lower is better")
    lines = "".join(
        f"<dt>{_text(key)}</dt><dd>{_text('; '.join(dict.fromkeys(values)))}</dd>" for key, values in shared.items()
    )
    note = (
        "Accuracy is measured on the test split, which nothing was selected on. ± is the standard deviation over "
        "seeds. "
        "A shaded score is ahead of all real data at the same number of updates by more than two standard errors. "
        "Images and bytes count what the teacher stores."
    )
    own = "".join(f'<p class="note">{_text(sentence)}</p>' for sentence in results.get("notes", ()))
    return f'<dl>{lines}</dl>{own}<p class="note">{note}</p>'


def _plain(value: Any) -> str:
    if isinstance(value, Mapping) and "class_path" in value:
        arguments = value.get("init_args") or {}
        inside = ", ".join(f"{key}={entry}" for key, entry in arguments.items())
        return f"{value['class_path']}({inside})"
    return str(value)
