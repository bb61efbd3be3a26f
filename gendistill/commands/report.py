"""``gendistill report``: results as one self-contained HTML file."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.judge import FILE_NAME, add_data_files, data_given, load_data
from gendistill.commands.options import Options
from gendistill.commands.output import read_results
from gendistill.errors import UserError
from gendistill.files import require_place
from gendistill.regular import real_path
from gendistill.spelling import LABELS
from gendistill.visible import sentence

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.grids import Grid
    from gendistill.teacher import Teacher


def parser() -> Options:
    """Return the command's options."""
    options = Options(prog="gendistill report", description="Write a self-contained HTML report of results.")
    options.add_argument("results", metavar="RESULTS", help="results.json, or the directory of a run that holds one")
    options.add_argument("--output", metavar="FILE", help="the HTML file; None: report.html beside the results")
    options.add_argument("--export", metavar="DIR", help="write the figures as SVG and PDF and the tables as CSV and "
                         "LaTeX into this folder, too, for a paper; None: do not")  # fmt: skip
    options.add_argument("--export-width", type=float, default=5.5, metavar="INCHES", help="width of the exported "
                         "figures, 1 to 20")  # fmt: skip
    options.add_argument("--title", help="headline; None: it names the data set")
    options.add_argument("--no-images", action="store_true", help="leave out the grids of images")
    options.add_argument("--dataset", metavar="NAME", help="real data set that the teachers were judged on, for the "
                         "grids of images; None: the one that the results name, with the options below")  # fmt: skip
    options.add_argument("--teachers", metavar="DIR", help="folder below which teachers that the results name are "
                         "opened for their images; None: beside the results, and runs and teacher files below the "
                         "current folder")  # fmt: skip
    add_data_files(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill report``."""
    given = parser().parse(argv)
    results = read_results(given.results)
    source = Path(given.results)
    folder = source if source.is_dir() else source.parent
    output = Path(given.output) if given.output else folder / "report.html"
    require_place(output)
    if not 1 <= given.export_width <= 20:
        raise UserError(f"--export-width is {given.export_width:g}; give inches from 1 to 20, such as 5.5")
    from gendistill.report.page import write_report

    images: dict[str, Grid] = {}
    if not given.no_images:
        measured = [(given.results, one) for one in results["teachers"]]
        data = load_data(given, results=measured) if given.dataset else None
        below = Path(given.teachers) if given.teachers else None
        images = pictures_of(
            results, given.results, data_given(given), data, folders=[below or folder], runs_here=below is None
        )
    write_report(results, output, images, title=given.title)
    print(f"report   {output}  (open it in a browser)")
    if given.export:
        write_export(results, given.export, images, given.export_width)
    return 0


def write_export(results: Mapping[str, Any], folder: str, images: Mapping[str, Any], width: float = 5.5) -> None:
    """Write the files for a paper, and say where.

    Raises:
        StorageError: A file cannot be written.
    """
    from gendistill.report.export import export

    written = export(results, folder, images, width=width)
    print(f"export   {len(written)} files in {folder}: pdflatex preview.tex there shows them all")


def pictures_of(
    results: Mapping[str, Any],
    file: str,
    given: Mapping[str, Any],
    data: RealData | None = None,
    *,
    named: Collection[str] = (),
    folders: Sequence[Path] = (),
    runs_here: bool = True,
) -> dict[str, Grid]:
    """Draw images of every teacher in the results that can still be opened, and that a file of results may open.

    Args:
        results: ``{"teachers": [...]}``.
        file: What the results come from, for sentences.
        given: Options of the data that a person gave; they win.
        data: The real data, where it is loaded already. None: what the results remember, see
            :func:`gendistill.data.recorded.load_recorded`, or else name, if it is public and there.
        named: References that the user himself has typed.
        folders: Where teachers that the results name may lie.
        runs_here: Whether runs and teacher files below the current folder are opened, too.

    Returns:
        Grids by teacher's name. A teacher that has gone is named on stderr and left out.
    """
    from gendistill.report.rows import rows
    from gendistill.teacher.reference import open_teacher

    loaded = {} if data is None else {data.description.name: data}
    pictures: dict[str, Grid] = {}
    for result, name in zip(results["teachers"], [row.name for row in rows(results)], strict=True):
        reference = result["teacher"].get("path")
        if not reference:
            continue
        dataset = str(result.get("dataset") or "digits")
        try:
            if dataset not in loaded:
                loaded[dataset] = _data_of(result, dataset, file, given)
            if str(reference) not in named:
                _check_place(str(reference), folders, runs_here)
            teacher = open_teacher(reference, loaded[dataset])
            pictures[name] = grid_of(teacher)
            if (sheet := stored_sheet(teacher)) is not None:
                pictures[f"{name}, as stored"] = sheet
        except UserError as error:
            print(sentence(f"no images of {name} in the report: {error}"), file=sys.stderr)
    return pictures


def _data_of(result: Mapping[str, Any], dataset: str, file: str, given: Mapping[str, Any]) -> RealData:
    """Load the data that a result was measured on.

    Raises:
        UserError: It is not there, is not what was measured on, or is none that a file may name.
    """
    import gendistill.data
    from gendistill.data.load import check_named_by_file
    from gendistill.data.recorded import Recorded, load_recorded
    from gendistill.spelling import option

    recorded = Recorded.read(result.get("data"), file)
    if recorded is not None:
        return load_recorded(recorded, given)
    root = given.get("root")
    check_named_by_file(dataset, root, f"name it with {option('name')}")
    return gendistill.data.load(dataset, root)


def stored_sheet(teacher: Teacher) -> Grid | None:
    """Return the first hundred stored images of a teacher that shows several of each, as pixels; None for any other."""
    import torch

    from gendistill.grids import grid_of_classes
    from gendistill.teacher import StoredImages

    if not isinstance(teacher, StoredImages) or teacher.decode is None or teacher.decode.cells == 1:
        return None
    chosen = torch.arange(min(100, teacher.images_stored), device=teacher.device)
    values = teacher.values(chosen)
    if tuple(values.shape[1:]) != tuple(teacher.description.image_shape):
        return None
    pixels = teacher.description.normalisation.invert(values).clamp(0, 1)
    return grid_of_classes(pixels, teacher.labels_of_stored[chosen], teacher.description.class_names)


def _check_place(reference: str, folders: Sequence[Path], runs_here: bool) -> None:
    """Refuse a teacher's place that a file of results has chosen, and not the user.

    Raises:
        UserError: It is none of those that :func:`pictures_of` opens.
    """
    from gendistill.report.rows import REAL
    from gendistill.teacher.reference import labelled_by

    base, between, other = reference.rpartition(LABELS)
    if between:  # the teacher whose labeller it takes is opened, too
        for part in (base, labelled_by(other)[0]):
            _check_place(part, folders, runs_here)
        return
    if reference == REAL or reference.startswith(f"{REAL}:"):
        return
    place = real_path(reference)
    ours = place.suffix == Path(FILE_NAME).suffix or (place / FILE_NAME).is_file()
    here = runs_here and ours and place.is_relative_to(Path.cwd())
    if not here and not any(place.is_relative_to(real_path(folder)) for folder in folders):
        raise UserError(f"the results name '{reference}', and a file chooses no place; name its folder with --teachers")


ROWS = 10
"""Pictures of each class where there are several: a hundred of two classes would be a tower of fifty."""


def grid_of(teacher: Teacher, seed: int = 0, most: int = 100) -> Grid:
    """Return up to a hundred of a teacher's images by class, about ten of each, as pixels.

    Of points it is one picture: a scatter plot.

    Args:
        teacher: The teacher.
        seed: Of the draw.
        most: How many images.
    """
    from gendistill.grids import Grid, grid_of_classes
    from gendistill.seeds import stream
    from gendistill.teacher.clouds import plot

    if teacher.description.embedding is not None:
        raise UserError("it holds sentences, which gendistill tokens prints")
    if teacher.description.cloud is not None:
        return Grid(plot(teacher, stream(seed, "pictures", teacher.device)), 1)
    classes = teacher.description.num_classes
    most = min(most, ROWS * classes) if classes > 1 else most
    count = min(most, teacher.decoded_images or most)
    images, labels = teacher.sample(count, stream(seed, "pictures", teacher.device))
    pixels = teacher.description.normalisation.invert(images).clamp(0, 1)
    return grid_of_classes(pixels, labels, teacher.description.class_names)
