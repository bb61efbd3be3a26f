"""An audit as a page and as a table: sentences, attacks, their curves, and the images that are nearest to real ones."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.files import atomic_write
from gendistill.report.html_table import plain_table
from gendistill.report.markup import escaped

ROUNDING = 1e-3
"""Share by which what a file promises may be less than what its sums cost."""

if TYPE_CHECKING:
    from gendistill.evaluation.audit import Pictures


def attack_cells(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of the attacks as rows of text, the heading first."""
    rates = next(iter(result["attacks"].values()))["found"]
    heads = [f"found % at {100 * one['rate']:g} % false alarms" for one in rates]
    cells = [["attack", "AUC", "95 %", *(word for head in heads for word in (head, "95 %"))]]
    for name, found in result["attacks"].items():
        row = [name, f"{found['auc']:.3f}", f"{found['low']:.3f} to {found['high']:.3f}"]
        for one in found["found"]:
            if one["share"] is None:
                row += ["–", "too few others"]
            else:
                row += [f"{100 * one['share']:.2f}", f"{100 * one['low']:.2f} to {100 * one['high']:.2f}"]
        cells.append(row)
    return cells


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Return what an audit found, a sentence each, the promise first."""
    memory, found = result["memorised"], []
    found += [result["promise"], *result["notes"]]
    found.append(
        f"asked about {result['members']:,} members ({result['members_are']}) and {result['others']:,} images that "
        "were not used; guessing reaches an AUC of 0.5 and finds as many members as it raises false alarms"
    )
    found.append(
        f"of {memory['looked_at']:,} images of the teacher {memory['same']:,} are training images, and "
        f"{100 * memory['nearer']:.0f} % are nearer to a training image than to any of as many others (50 % by chance)"
    )
    if (one := result["one_run"]) is not None:
        kept = "keeps" if one["bound"] <= one["promised"] else "BREAKS"
        found.append(
            f"one run on {one['canaries']:,} canaries: {one['right']} of {one['guesses']} guesses were right, so "
            f"epsilon is at least {one['bound']:.2f} (95 %), which {kept} the promise of {one['promised']:.3g}; with "
            f"the noise off the same audit says at least {one['without_noise']:.2f}"
        )
        if one["counted"] is not None and one["counted"] > one["promised"] * (1 + ROUNDING):
            found.append(
                f"the sums that its file names cost epsilon {one['counted']:.4g}, which BREAKS the promise of "
                f"{one['promised']:.3g}"
            )
    return found


def write_page(result: Mapping[str, Any], pictures: Pictures, path: str | Path) -> None:
    """Write a self-contained HTML page. It shows training images: of private ones it is for who has them.

    Args:
        result: What :func:`gendistill.evaluation.audit.audit` returned, with a ``name``.
        pictures: What it returned beside it.
        path: The file.

    Raises:
        StorageError: It cannot be written.
    """
    from gendistill.report.figures import line_figure

    title = f"Audit of {result['name']}"
    lede = result["verdict"]
    parts = [f"<h1>{escaped(title)}</h1>", f'<p class="lede">{escaped(lede[:1].upper() + lede[1:])}.</p>']
    parts += [f'<p class="note">{escaped(one[:1].upper() + one[1:])}.</p>' for one in sentences(result)]
    parts.append(
        '<p class="finding">This page shows training images. Where these must not be shared, neither must the page.</p>'
    )
    parts += ["<h2>Attacks</h2>", plain_table(attack_cells(result))]
    words = " ".join(f"{name}: {found['looks_at']}." for name, found in result["attacks"].items())
    parts.append(f'<p class="note">{escaped(words)}</p>')
    strongest = max(result["attacks"], key=lambda name: result["attacks"][name]["auc"])
    curve = result["attacks"][strongest]["curve"]
    drawn = {"x": curve["false"], "y": curve["true"], "x_label": "others taken for members", "y_label": "members found"}
    parts += [f"<h2>Curve of the attack: {escaped(strongest)}</h2>", line_figure("members found", drawn, strongest)]
    shown = (
        (
            "Nearest to training images",
            pictures.memorised,
            "An image of the teacher, and beside it the training image.",
        ),
        ("The same beside images that were not used", pictures.control, "The nearest of those that were not used."),
    )
    parts += [f"<h2>{escaped(head)}</h2>" + _grid(images, head, words) for head, images, words in shown]
    style = resources.files("gendistill.report").joinpath("style.css").read_text(encoding="utf-8")
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + '\n</main>\n<footer class="note">Written by gendistill.</footer>\n</body>\n</html>\n'
    )
    atomic_write(Path(path), lambda file: file.write(text.encode()) and None)


def _grid(images: Any, heading: str, caption: str) -> str:
    from gendistill.report.pictures import data_address, png_grid, png_size

    png = png_grid(images, 8)
    width, height = png_size(png)
    return (
        f'<div class="grids"><figure><img src="{data_address(png)}" width="{width}" height="{height}" '
        f'alt="{escaped(heading)}"><figcaption>{escaped(caption)}</figcaption></figure></div>'
    )
