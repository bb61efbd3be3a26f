"""``gendistill report``: results as one self-contained HTML file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.judge import add_data_files, load_data
from gendistill.commands.options import Options
from gendistill.commands.output import read_results
from gendistill.errors import UserError
from gendistill.files import require_place

if TYPE_CHECKING:
    from torch import Tensor

    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher


def parser() -> Options:
    """Return the command's options."""
    options = Options(prog="gendistill report", description="Write a self-contained HTML report of results.")
    options.add_argument("results", metavar="RESULTS", help="results.json, or the directory of a run that holds one")
    options.add_argument("--output", metavar="FILE", help="the HTML file; None: report.html beside the results")
    options.add_argument("--title", help="headline; None: it names the data set")
    options.add_argument("--no-images", action="store_true", help="leave out the grids of images")
    options.add_argument("--dataset", metavar="NAME", help="real data set that the teachers were judged on, for the "
                         "grids of images; None: the one that the results name, which will not do for a "
                         "folder")  # fmt: skip
    add_data_files(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill report``."""
    given = parser().parse(argv)
    results = read_results(given.results)
    source = Path(given.results)
    output = Path(given.output) if given.output else (source if source.is_dir() else source.parent) / "report.html"
    require_place(output)
    from gendistill.report.page import write_report

    images: dict[str, Tensor] = {}
    if not given.no_images:
        data = load_data(given) if given.dataset else None
        images = pictures_of(results, given.data_root, data)
    write_report(results, output, images, title=given.title)
    print(f"report   {output}  (open it in a browser)")
    return 0


def pictures_of(results: Mapping[str, Any], root: str | None, data: RealData | None = None) -> dict[str, Tensor]:
    """Draw images of every teacher in the results that can still be opened.

    Args:
        results: ``{"teachers": [...]}``.
        root: Where the data sets' files are.
        data: The real data, where it is loaded already.

    Returns:
        Pixels (N, C, H, W) by teacher's name. A teacher that has gone is named on stderr and left out.
    """
    import gendistill.data
    from gendistill.report.rows import rows
    from gendistill.teacher.reference import open_teacher

    loaded = {} if data is None else {data.description.name: data}
    pictures = {}
    for result, name in zip(results["teachers"], [row.name for row in rows(results)], strict=True):
        reference = result["teacher"].get("path")
        if not reference:
            continue
        dataset = str(result.get("dataset") or "digits")
        try:
            if dataset not in loaded:
                loaded[dataset] = gendistill.data.load(dataset, root)
            pictures[name] = grid_of(open_teacher(reference, loaded[dataset]))
        except UserError as error:
            print(f"no images of {name} in the report: {error}", file=sys.stderr)
    return pictures


def grid_of(teacher: Teacher, seed: int = 0) -> Tensor:
    """Return up to a hundred of a teacher's images as pixels (N, C, H, W) in the order of :func:`png_grid`."""
    from gendistill.report.pictures import by_class
    from gendistill.seeds import stream

    if teacher.description.embedding is not None:
        raise UserError("it holds sentences, which gendistill tokens prints")
    count = min(100, teacher.images_stored or 100)
    images, labels = teacher.sample(count, stream(seed, "pictures", teacher.device))
    return by_class(teacher.description.normalisation.invert(images).clamp(0, 1), labels)
