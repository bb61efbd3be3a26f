"""A diagnosis as a page: sentences, a table of the classes, and the pictures that show what the sentences say."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.files import atomic_write
from gendistill.report.html_table import plain_table
from gendistill.report.markup import escaped

if TYPE_CHECKING:
    from torch import Tensor

    from gendistill.evaluation.diagnosis import Pictures

MOST = 100
"""Classes in a table."""


def class_cells(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of the classes as rows of text, the heading first; of many classes the poorest."""
    rows = sorted(result["classes"], key=lambda row: (row["coverage"] or 0.0) / (row["control_coverage"] or 1.0))
    rows = result["classes"] if len(rows) <= MOST else rows[:MOST]
    cells = [["class", "share %", "fair %", "as labelled %", "(real)", "recall %", "coverage %", "(real)"]]
    for row in rows:
        values = [row[name] for name in ("share", "fair", "agreement", "control_agreement", "recall", "coverage")]
        cells.append([str(row["name"]), *(percent(value) for value in [*values, row["control_coverage"]])])
    return cells


def percent(value: float | None) -> str:
    """Return a share as a percentage, a dash for none."""
    return "–" if value is None else f"{100 * value:.1f}"


def write_page(result: Mapping[str, Any], pictures: Pictures, path: str | Path) -> None:
    """Write a self-contained HTML page.

    Args:
        result: What :func:`gendistill.evaluation.diagnosis.diagnose` returned, with a ``name``.
        pictures: What it returned beside it.
        path: The file.

    Raises:
        StorageError: It cannot be written.
    """
    title = f"Diagnosis of {result['name']}"
    parts = [f"<h1>{escaped(title)}</h1>", f'<p class="lede">{escaped(_capital(result["verdict"]))}.</p>']
    for finding in result["findings"]:
        words = _capital(finding["sentence"]) + "."
        if finding["wrong"]:
            words += f" What to try: {finding['advice']}."
        kind = "finding" if finding["wrong"] else "note"
        parts.append(f'<p class="{kind}">{escaped(words)}</p>')
    parts += ["<h2>Class by class</h2>", plain_table(class_cells(result)), _captions(result)]
    shown = (
        ("Generated images, by class", pictures.samples, 10, "Rows of ten of a class, where there are as many."),
        ("Nearest to each other", pictures.repeated, 8, "Pairs of generated images, side by side."),
        ("Nearest to training images", pictures.memorised, 8, "A generated image, and beside it the training image."),
        ("Missed", pictures.missed, 16, "Training images that no generated image is near; poorest classes first."),
    )
    for heading, images, columns, caption in shown:
        if len(images):
            parts += [f"<h2>{escaped(heading)}</h2>", _grid(images, columns, heading, caption)]
    style = resources.files("gendistill.report").joinpath("style.css").read_text(encoding="utf-8")
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + '\n</main>\n<footer class="note">Written by gendistill.</footer>\n</body>\n</html>\n'
    )
    atomic_write(Path(path), lambda file: file.write(text.encode()) and None)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _captions(result: Mapping[str, Any]) -> str:
    words = (
        f"Of {result['n']:,} generated images. Share: predicted labels. As labelled: images whose predicted class is "
        "their label. Coverage: training images of the class with an image in their ball. In brackets: the same of as "
        f"many real test images. Features of {result['extractor'].split('/')[0]}."
    )
    return f'<p class="note">{escaped(words)}</p>'


def _grid(images: Tensor, columns: int, heading: str, caption: str) -> str:
    from gendistill.report.pictures import data_address, png_grid, png_size

    png = png_grid(images, columns)
    width, height = png_size(png)
    return (
        f'<div class="grids"><figure><img src="{data_address(png)}" width="{width}" height="{height}" '
        f'alt="{escaped(heading)}"><figcaption>{escaped(caption)}</figcaption></figure></div>'
    )
