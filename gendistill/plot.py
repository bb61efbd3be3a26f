"""Figures of teachers, results and runs, drawn as the report draws them: ``gd.plot.curves(comparison)``.

Every function returns a matplotlib ``Figure`` that pyplot knows nothing of: a notebook shows it, ``savefig`` writes it,
and no state is left behind.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from gendistill.commands.report import grid_of
from gendistill.data.pictures import read_picture
from gendistill.errors import UserError, did_you_mean
from gendistill.escapes import figure_text
from gendistill.files import atomic_write
from gendistill.grids import as_grid, grid_of_classes
from gendistill.library.opening import DataLike, InDirectory, TeacherLike, load
from gendistill.library.results import Comparison, Result
from gendistill.library.training import Run
from gendistill.report.drawing import (
    DASHES,
    PRINT,
    differences_figure,
    dress,
    front_figure,
    learning_figure,
    styles,
)
from gendistill.report.facts import accuracy_words
from gendistill.report.front import front as pareto
from gendistill.report.over_steps import MOST, sampled
from gendistill.report.over_steps import over_steps as draw_over_steps
from gendistill.report.parallel import checked, parallel_figure, read_search
from gendistill.report.picture_figures import grid_figure
from gendistill.report.rows import Row
from gendistill.report.utility import utility as found_utility
from gendistill.report.utility import utility_figure
from gendistill.report.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 90

ResultsLike = Result | Comparison | Mapping[str, Any] | Iterable[Result] | str | Path
"""Results: of one teacher, of several, or those of ``results.json``, or where it is."""


def images(
    teacher: TeacherLike | Tensor, labels: Tensor | None = None, *, columns: int = 10, data: DataLike | None = None
) -> Figure:
    """Draw up to a hundred images of a teacher by class, or images that are given.

    Args:
        teacher: A teacher, a run, or what names one; or pixels (N, C, H, W) in [0, 1].
        labels: Of pixels that are given, by which they are put in order; None: as they are.
        columns: Images in a row.
        data: The real data that ``real...`` needs.

    Raises:
        UserError: Sentences, or images of another shape.
    """
    if not isinstance(teacher, Tensor):
        return _shown(grid_figure(grid_of(load(teacher, data))))
    if labels is None:
        return _shown(grid_figure(as_grid(teacher, columns)))
    kinds = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    return _shown(grid_figure(grid_of_classes(teacher, labels, [str(kind) for kind in range(kinds)], columns=columns)))


def curves(results: ResultsLike, *, error: bool = False, by_epoch: bool = False) -> Figure:
    """Draw accuracy against the number of learner updates, with one standard deviation.

    Args:
        results: What :func:`gendistill.evaluate` or :func:`gendistill.compare` returned, or a file of it.
        error: Draw the error on a logarithmic axis, by which 90 to 99 % can be read.
        by_epoch: Draw against passes over each teacher's images.

    Raises:
        UserError: Nothing of learning was measured.
    """
    found = verdict(_values(results))
    table = [row for row in found.table if row.scores]
    if not table:
        raise UserError("none of these results holds accuracies; evaluate with learning=True")
    return _shown(
        learning_figure(
            table, _looks(found.names, found.reference), PRINT, accuracy=accuracy_words(table), error=error,
            by_epoch=by_epoch,
        )
    )  # fmt: skip


def differences(results: ResultsLike) -> Figure:
    """Draw how far each teacher is ahead of all real data, with the interval that decides.

    Args:
        results: What :func:`gendistill.compare` returned, or a file of it; ``real`` among the teachers.

    Raises:
        UserError: All real data is not among them.
    """
    found = verdict(_values(results))
    if not found.against:
        raise UserError("nothing is held against all real data; compare with 'real' among the teachers")
    return _shown(differences_figure(found, _looks(found.names, found.reference), PRINT))


def utility(results: ResultsLike) -> Figure:
    """Draw accuracy against epsilon: private teachers as curves, those that promise nothing as lines.

    Args:
        results: What :func:`gendistill.evaluate` or :func:`gendistill.compare` returned, or a file of it, such as
            ``results.json`` of a replication; private teachers among them.

    Raises:
        UserError: None of them is private.
    """
    return _shown(utility_figure(found_utility(_values(results)["teachers"])))


def front(results: ResultsLike, budget: str = "bytes") -> Figure:
    """Draw accuracy against what teachers cost, with the Pareto front.

    Args:
        results: What :func:`gendistill.compare` returned, or a file of it.
        budget: ``bytes`` stored, ``images`` stored, or what the teachers' files say of their making: ``cpu_seconds`` or
            ``peak_memory`` (bytes).

    Raises:
        UserError: There is no such budget, or fewer than two teachers have a place: what they cost is not known, or
            they were measured under different settings.
    """
    found = verdict(_values(results))
    places = pareto(found, budget)
    if places is None:
        raise UserError(
            f"fewer than two of these teachers have accuracy at one number of updates and a known budget '{budget}', "
            "or they were measured under different settings; give what gendistill.compare returned"
        )
    accuracy = accuracy_words([row for row in found.table if row.scores])
    return _shown(front_figure(places, _looks(found.names, found.reference), PRINT, accuracy=accuracy))


def trials(results: Mapping[str, Any] | str | Path) -> Figure:
    """Draw a search over several options as parallel coordinates: a line a trial, the better the darker.

    Args:
        results: What ``gendistill sweep`` has written as ``search.json``, or that file.

    Raises:
        UserError: It is no search.
    """
    values = read_search(results) if isinstance(results, str | Path) else dict(results)
    return _shown(parallel_figure(checked(values, "the results")))


def training(run: InDirectory | str | Path, tags: str | Sequence[str] | None = None) -> Figure:
    """Draw what a run has logged against its steps.

    Args:
        run: A run or its directory.
        tags: Which curves, such as ``train/loss``, or the beginnings of their names; None: all of ``train/`` and
            ``validation/``.

    Raises:
        UserError: It has logged none of them.
    """
    logged = Run(_directory(run)).curves()
    wanted = ("train/", "validation/") if tags is None else (tags,) if isinstance(tags, str) else tuple(tags)
    shown = {tag: points for tag, points in logged.items() if tag.startswith(wanted)}
    if not shown:
        hint = did_you_mean(wanted[0], logged)
        raise UserError(f"'{_directory(run)}' has logged no {', '.join(wanted)}; {hint}it has: {', '.join(logged)}")
    # A panel for each kind of curve: a loss and an accuracy have no axis in common.
    kinds = list(dict.fromkeys(tag.partition("/")[0] for tag in shown))
    figure = new_figure(PRINT.width, 1.9 * len(kinds) + 0.3)
    panels = dict(zip(kinds, figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0], strict=True))
    for axes in panels.values():
        dress(axes, PRINT)
    looks = list(styles(list(shown)).values())
    for place, (tag, points) in enumerate(shown.items()):
        steps, values = zip(*points, strict=True)
        look, axes = looks[place], panels[tag.partition("/")[0]]
        axes.plot(
            steps, values, color=PRINT.colour(look), linestyle=DASHES[place % len(DASHES)], linewidth=1.5,
            marker="o" if len(steps) == 1 else None, markersize=3, label=figure_text(tag.partition("/")[2]),
        )  # fmt: skip
    for kind, axes in panels.items():
        axes.set_ylabel(figure_text(kind))
        axes.legend(fontsize=PRINT.letters - 1, frameon=False)
    axes.set_xlabel("training step")
    return _shown(figure)


def film(
    run: InDirectory | str | Path, name: str | None = None, *, most: int = 5, path: str | Path | None = None
) -> Figure:
    """Draw what a run has shown on its way, one picture grid beside the other.

    Args:
        run: A run or its directory; ``run.sample_every`` says how often it was looked at.
        name: Which grids; None: the first.
        most: Steps in the figure, evenly spread.
        path: Write the grids of all steps as a GIF to this file; None: do not.

    Raises:
        UserError: It has no pictures of that name.
    """
    directory = _directory(run)
    name, steps = sampled(directory, name)
    if path is not None:
        frames = [read_picture(file).convert("RGB") for file in steps.values()]
        times = [250] * (len(frames) - 1) + [1250]
        atomic_write(
            path,
            lambda out: frames[0].save(
                out, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0
            ),
        )
    count = min(most, len(steps))
    places = sorted({round(place * (len(steps) - 1) / max(count - 1, 1)) for place in range(count)})
    chosen = [list(steps)[place] for place in places]
    return _of_pictures([read_picture(steps[step]) for step in chosen], [f"step {step:,}" for step in chosen])


def over_steps(runs: Mapping[str, InDirectory | str | Path], name: str | None = None, *, most: int = MOST) -> Figure:
    """Draw what several runs have shown on their way: a row a run, a column a step that all of them have.

    Args:
        runs: Runs or their directories, by what stands before their rows.
        name: Which grids, such as ``points``; None: the first of each.
        most: Steps in the figure, evenly spread.

    Raises:
        UserError: One has no pictures of that name, or they have no step in common.
    """
    return _shown(draw_over_steps({row: _directory(run) for row, run in runs.items()}, name, most=most))


def _values(results: ResultsLike) -> dict[str, Any]:
    """Return results in the form of ``results.json``."""
    if isinstance(results, Result):
        return {"teachers": [results.to_dict()]}
    if isinstance(results, Comparison):
        return results.to_dict()
    if isinstance(results, Mapping):
        return dict(results) if "teachers" in results else {"teachers": [dict(results)]}
    if isinstance(results, str | Path):
        return Comparison.read(results).to_dict()
    several = list(results)
    if strange := [one for one in several if not isinstance(one, Result)]:
        what = type(strange[0]).__name__
        raise UserError(f"results are what gendistill.evaluate or compare returned, or a file of it; got a {what}")
    return {"teachers": [one.to_dict() for one in several]}


def _looks(names: Sequence[str], reference: Row | None) -> Any:
    return styles(names, None if reference is None else reference.name)


def _directory(run: InDirectory | str | Path) -> Path:
    return Path(run if isinstance(run, str | Path) else run.directory)


def _of_pictures(pictures: Sequence[Any], titles: Sequence[str]) -> Figure:
    """Draw pictures side by side, each pixel as it is."""
    widest = max(picture.width for picture in pictures)
    height = max(picture.height / picture.width for picture in pictures)
    width = min(max(3.2, 2.1 * len(pictures)), 11.0) if len(pictures) > 1 else min(max(2.4, widest / 110), 6.4)
    figure = new_figure(width, width / len(pictures) * height + 0.3 * bool(any(titles)))
    for axes, picture, title in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, titles, strict=True):
        axes.imshow(np.asarray(picture.convert("RGBA")))
        axes.set_axis_off()
        axes.set_title(figure_text(title), fontsize=9)
    return _shown(figure)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, which pyplot knows nothing of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _shown(figure: Figure) -> Figure:
    """Let a notebook show a figure, which otherwise shows those of pyplot alone."""

    figure.patch.set(facecolor=PRINT.paper, alpha=1)  # also on the dark page of a notebook

    def png() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure
