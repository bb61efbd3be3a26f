"""Line figures as matplotlib draws them: for the page, for a phone and for a paper, by one set of functions.

:mod:`gendistill.report.figures` makes SVG for the page of them, :mod:`gendistill.report.export` files for a paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gendistill.escapes import figure_text
from gendistill.report.front import Front
from gendistill.report.rows import Row
from gendistill.report.verdict import Verdict
from gendistill.words import counted

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("solid", (0, (1.2, 1.4)), "solid", (0, (5, 1.6)), "solid", (0, (5, 1.4, 1.2, 1.4)), "solid", (0, (3, 1.2)))
BAND = 0.13
"""How dense a band is."""
MOST_BANDS = 4
"""Bands over one another that leave each other to be seen; of more teachers each point has a bar instead."""
DODGE = 0.011
"""How far the bars of two teachers at one number of updates stand apart at most, as a share of the axis."""
CROWDED = 0.4
"""Share of the space between two numbers of updates that the bars of all teachers take at most."""
NEAR_THE_TOP = 0.8
"""Accuracy from which differences are read better off the error on a logarithmic axis."""


@dataclass(frozen=True)
class Style:
    """How one teacher looks in every figure: ``colour`` is a number of the form's, the others are matplotlib's."""

    colour: int
    marker: str
    dashes: Any

    @property
    def stand_in(self) -> str:
        """The colour that matplotlib is given for the page."""
        return SCREEN.colour(self)


@dataclass(frozen=True)
class Form:
    """Where a figure will stand.

    Attributes:
        width: In inches.
        letters: Size of the letters in points.
        ink: Colour of text and axes.
        rule: Colour of the grid.
        paper: Colour behind the figure.
        colours: Those of the teachers: eight, or none where each is a stand-in for a CSS variable of the page.
        tall: Height of a figure, as a share of that of the page at the same width.
        ticks: Numbers of updates that have room beside one another.
        legend: Whether the figure itself says who is who.
    """

    width: float
    letters: float
    ink: str
    rule: str
    paper: str
    colours: tuple[str, ...] = ()
    tall: float = 1.0
    ticks: int = 14
    legend: bool = False

    def colour(self, look: Style) -> str:
        """Return a teacher's colour."""
        return self.colours[look.colour] if self.colours else f"#ab03{look.colour:02x}"


# Colours are written as CSS variables of the page, so that the figure follows a light or dark theme. matplotlib knows
# nothing of them; it is given stand-ins that are replaced in its SVG.
INK, RULE, PAPER = "#ab0100", "#ab0200", "#ab0400"
SCREEN = Form(7.6, 9, INK, RULE, PAPER)
PHONE = Form(4.0, 9, INK, RULE, PAPER, tall=1.5, ticks=7)
PRINT = Form(
    5.5, 8, "#1c1d1f", "#dcdcd8", "#ffffff",
    ("#1c1d1f", "#7d8087", "#0072b2", "#c8500a", "#00875f", "#b0578d", "#2c93cf", "#b57f00"), legend=True,
)  # fmt: skip
"""A figure of the width of a page's text, to be printed at its own size."""


def styles(names: Sequence[str], reference: str | None = None) -> dict[str, Style]:
    """Give each teacher a colour, a marker and a dash pattern; the reference takes the text's own colour."""
    others = [name for name in names if name != reference]
    given = {
        name: Style(1 + place % 7, MARKERS[(place + 1) % 8], DASHES[(place + 1) % 8])
        for place, name in enumerate(others)
    }
    return {name: given.get(name, Style(0, MARKERS[0], DASHES[0])) for name in names}


def near_the_top(table: Sequence[Row]) -> bool:
    """Return whether an accuracy is so high that differences are read off the error."""
    return any(score.mean >= NEAR_THE_TOP for row in table for score in row.scores.values())


def learning_figure(
    table: Sequence[Row],
    looks: Mapping[str, Style],
    form: Form = PRINT,
    *,
    accuracy: str = "accuracy",
    by_epoch: bool = False,
    error: bool = False,
) -> Any:
    """Draw accuracy against the number of updates (logarithmic), with one standard deviation.

    Up to :data:`MOST_BANDS` teachers have a band; more of them have a bar at each point, and stand a little aside of
    one another.

    Args:
        table: The teachers.
        looks: From :func:`styles`.
        form: Where the figure will stand.
        accuracy: What the vertical axis is called, such as ``test accuracy``.
        by_epoch: Draw against passes over each teacher's images instead (linear), at whole passes only. Teachers with
            fewer images make fewer updates in a pass.
        error: Draw 100 % less the accuracy instead, on a logarithmic axis. What is below one image of those that
            learners were tested on is drawn as half of it.

    Returns:
        A matplotlib ``Figure``.
    """
    figure, axes = new_axes(form, 4.1)
    shown = [(row, _points(row, by_epoch)) for row in sorted(table, key=lambda row: not row.everything)]
    bands = sum(any(score.std for score in row.scores.values()) for row in table) <= MOST_BANDS
    across = sorted({x for _, (places, _) in shown for x in places})
    for place, (row, (x, scores)) in enumerate(shown):
        look, colour = looks[row.name], form.colour(looks[row.name])
        least = 50 / row.tested_on if row.tested_on else 0.01  # half an image, in %
        mean = [_height(score.mean, error, least) for score in scores]
        low = [_height(score.mean - (score.std or 0.0), error, least) for score in scores]
        high = [_height(score.mean + (score.std or 0.0), error, least) for score in scores]
        size, marks = (5, None) if len(x) <= 20 else (4, max(1, len(x) // 12))
        spread = any(score.std for score in scores)
        if spread and bands:
            axes.fill_between(x, low, high, color=colour, alpha=BAND, linewidth=0)
        elif spread:
            x = _moved(x, across, place, len(shown), logarithmic=not by_epoch)
            axes.vlines(x[::marks], low[::marks], high[::marks], color=colour, linewidth=1.1, alpha=0.8)
        axes.plot(
            x, mean, color=colour, marker=look.marker, markersize=size * form.letters / 9, markevery=marks,
            linewidth=1.8 * form.letters / 9, linestyle=look.dashes, label=figure_text(row.name),
        )  # fmt: skip
    if by_epoch:
        axes.set_xlabel("epochs")
    else:
        by_updates(axes, [int(x) for x in across], form)
    if error:
        _error_axis(axes)
        axes.set_ylabel(f"{figure_text(accuracy).replace('accuracy', 'error')}, % (log)")
    else:
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]), top=min(101.0, axes.get_ylim()[1]))
        axes.set_ylabel(f"{figure_text(accuracy)}, %")
    return with_legend(figure, axes, form)


def differences_figure(found: Verdict, looks: Mapping[str, Style], form: Form = PRINT) -> Any:
    """Draw how far each teacher is ahead of all real data, with the interval that decides.

    Filled marks are decided: their interval leaves out 0. Bars that leave the figure go on beyond it.

    Args:
        found: The conclusions.
        looks: From :func:`styles`.
        form: Where the figure will stand.

    Returns:
        A matplotlib ``Figure``.
    """
    figure, axes = new_axes(form, 3.4)
    counts = sorted({count for _, count in found.against})
    names = list(dict.fromkeys(name for name, _ in found.against))
    axes.axhline(0.0, color=form.ink, linewidth=1.0)
    for place, name in enumerate(names):
        look, colour = looks[name], form.colour(looks[name])
        measured = found.counts(name)
        for x, count in zip(_moved(measured, counts, place, len(names)), measured, strict=True):
            one = found.against[name, count]
            if one.low is not None and one.high is not None:
                axes.plot([x, x], [100 * one.low, 100 * one.high], color=colour, linewidth=1.3)
            axes.plot(
                [x], [100 * one.mean], look.marker, color=colour, markerfacecolor=colour if one.decided else form.paper,
                markersize=5 * form.letters / 9, markeredgewidth=1.3,
            )  # fmt: skip
        axes.plot([], [], look.marker, color=colour, markersize=5, label=figure_text(name))
    axes.set_ylim(*_limits(found))
    by_updates(axes, counts, form)
    axes.set_ylabel("difference, points")
    return with_legend(figure, axes, form)


def front_figure(found: Front, looks: Mapping[str, Style], form: Form = PRINT, *, accuracy: str = "accuracy") -> Any:
    """Draw accuracy against a budget (logarithmic), the Pareto front as a line of steps.

    Filled marks are on the front. A bar is one standard deviation.

    Args:
        found: The teachers' places.
        looks: From :func:`styles`.
        form: Where the figure will stand.
        accuracy: What the vertical axis is called.

    Returns:
        A matplotlib ``Figure``.
    """
    figure, axes = new_axes(form, 4.1)
    on = [point for point in found.points if point.row.name in found.names]
    axes.set_xscale("log")
    prices = [point.budget for point in found.points]
    low, high = min(prices) / 1.6, max(prices) * 1.6
    axes.set_xlim(low, high)
    steps = [point.budget for point in on] + [high]
    axes.step(
        steps, [100 * point.score.mean for point in on] + [100 * on[-1].score.mean], where="post", color=form.rule,
        linewidth=5 * form.letters / 9, solid_capstyle="butt", zorder=1,
    )  # fmt: skip
    for point in found.points:
        look, colour = looks[point.row.name], form.colour(looks[point.row.name])
        height, spread = 100 * point.score.mean, 100 * (point.score.std or 0.0)
        if spread:
            axes.plot([point.budget] * 2, [height - spread, height + spread], color=colour, linewidth=1.1, zorder=2)
        axes.plot(
            [point.budget], [height], look.marker, color=colour, markersize=6.5 * form.letters / 9, zorder=3,
            markerfacecolor=colour if point in on else form.paper, markeredgewidth=1.3, linestyle="none",
            label=figure_text(point.row.name),
        )  # fmt: skip
    axes.minorticks_off()
    axes.set_xlabel(f"{found.what} (log)")
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]), top=min(101.0, axes.get_ylim()[1]))
    axes.set_ylabel(f"{figure_text(accuracy)} after {counted(found.updates, 'update')}, %")
    return with_legend(figure, axes, form)


def named_curve_figure(name: str, curve: Mapping[str, Any], form: Form = PRINT) -> Any:
    """Draw one named curve.

    Args:
        name: Its name.
        curve: ``x`` and ``y``, and optionally ``lower`` and ``upper`` (a band), ``reference`` (a horizontal line),
            ``x_label`` and ``y_label``.
        form: Where the figure will stand.

    Returns:
        A matplotlib ``Figure``.
    """
    figure, axes = new_axes(form, 2.6)
    colour = form.colour(Style(2, "o", "solid"))
    if curve.get("lower") and curve.get("upper"):
        lower, upper = (_with_gaps(curve[end]) for end in ("lower", "upper"))
        axes.fill_between(curve["x"], lower, upper, color=colour, alpha=BAND, linewidth=0)
    axes.plot(
        curve["x"], _with_gaps(curve["y"]), color=colour, linewidth=1.8, marker="o" if len(curve["x"]) < 2 else None
    )
    if curve.get("reference") is not None:
        axes.axhline(float(curve["reference"]), color=form.ink, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlabel(figure_text(str(curve.get("x_label", "training step"))))
    axes.set_ylabel(figure_text(str(curve.get("y_label", name))))
    axes.margins(y=0.15)
    low, high = axes.get_ylim()
    least = 0.02 * max(abs(low), abs(high))  # rounding errors of a constant shall not fill the figure
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)
    axes.ticklabel_format(axis="y", useOffset=False)
    return figure


def new_axes(form: Form, height: float) -> tuple[Any, Any]:
    """Return a figure and its one set of axes.

    Args:
        form: Where it will stand.
        height: In inches, at the width of the page.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(form.width, height * form.tall * form.width / SCREEN.width), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    dress(axes, form)
    return figure, axes


def dress(axes: Any, form: Form) -> None:
    """Give a set of axes the look of a form: a grid, one line below, letters of its size."""
    axes.patch.set_alpha(0)
    axes.grid(True, color=form.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(form.ink)
    axes.tick_params(which="both", colors=form.ink, length=0, labelsize=form.letters, pad=6)
    axes.xaxis.label.set(color=form.ink, fontsize=form.letters + 0.5)
    axes.yaxis.label.set(color=form.ink, fontsize=form.letters + 0.5)


def with_legend(figure: Any, axes: Any, form: Form) -> Any:
    """Say above a figure who is who, where its form asks for it; return the figure."""
    handles, names = axes.get_legend_handles_labels()
    if form.legend and names:
        room = form.width * 72 / (0.62 * form.letters)  # letters beside one another
        columns = max(1, min(len(names), 4, int(room // (max(map(len, names)) + 7))))
        lines = math.ceil(len(names) / columns)
        figure.set_figheight(figure.get_figheight() + lines * 1.7 * form.letters / 72)
        legend = figure.legend(
            handles, names, loc="outside upper left", ncols=columns, frameon=False, fontsize=form.letters,
            labelcolor=form.ink, handlelength=2.6, columnspacing=1.4, borderaxespad=0.2,
        )  # fmt: skip
        legend.set_in_layout(True)
    return figure


def by_updates(axes: Any, counts: Sequence[int], form: Form) -> None:
    """Make the horizontal axis that of numbers of updates, each of which is written where there is room."""
    axes.set_xscale("log")
    ticks = _spread(counts, form.ticks)
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.minorticks_off()
    axes.set_xlabel("learner updates n")


def _points(row: Row, by_epoch: bool) -> tuple[list[float], list[Any]]:
    """Return where a teacher was measured, and what it reached there."""
    measured = sorted(count for count in row.scores if count > 0)
    if not by_epoch:
        return [float(count) for count in measured], [row.scores[count] for count in measured]
    measured = [count for count in measured if row.epoch_updates and count % row.epoch_updates == 0]
    return [count / (row.epoch_updates or 1) for count in measured], [row.scores[count] for count in measured]


def _height(accuracy: float, error: bool, least: float) -> float:
    """Return an accuracy in %, or its error, which a logarithmic axis shows down to ``least``."""
    return max(100 * (1 - accuracy), least) if error else 100 * accuracy


def _error_axis(axes: Any) -> None:
    """Make the vertical axis logarithmic, with 1, 2 and 5 of every decade in words."""
    low, high = axes.get_ylim()  # margins of a linear axis may lie below 0
    low = max(low, min(float(value) for line in axes.get_lines() for value in line.get_ydata()) / 1.3)
    axes.set_yscale("log")
    low, high = low / 1.02, min(high, 120.0)
    ticks = [
        digit * 10.0**power
        for power in range(-3, 3)
        for digit in (1, 2, 5)
        if low <= digit * 10.0**power <= min(high, 100)
    ]
    axes.set_ylim(low, high)
    axes.minorticks_off()
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def _moved(
    x: Sequence[float], across: Sequence[float], place: int, teachers: int, *, logarithmic: bool = True
) -> list[float]:
    """Move a teacher's bars aside, so that those of several at one place stand beside one another.

    Args:
        x: Where it was measured.
        across: Where any was, ascending.
        place: Which of the teachers it is.
        teachers: How many there are.
        logarithmic: Whether the axis is.
    """
    on_axis = [math.log(value) for value in across] if logarithmic else list(across)
    gaps = [after - before for before, after in zip(on_axis, on_axis[1:], strict=False)]
    width = (on_axis[-1] - on_axis[0]) * DODGE if gaps else 0.02
    step = min(width, CROWDED * min(gaps) / max(teachers, 1)) if gaps else width
    aside = step * (place - (teachers - 1) / 2)
    return [value * math.exp(aside) if logarithmic else value + aside for value in x]


def _limits(found: Verdict) -> tuple[float, float]:
    """Return limits that hold all differences and, if they are not far wider, their intervals."""
    means = [100 * one.mean for one in found.against.values()]
    low, high = min(0.0, *means), max(0.0, *means)
    beyond = max(5.0, 0.6 * (high - low))
    ends = [100 * end for one in found.against.values() for end in (one.low, one.high) if end is not None]
    return max(low - beyond, min([low, *ends])) - 1.0, min(high + beyond, max([high, *ends])) + 1.0


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    """Return values of which those that are None are NaN, at which a line and a band are interrupted."""
    return [math.nan if value is None else float(value) for value in values]


def _spread(counts: Sequence[int], most: int) -> list[int]:
    """Drop tick values that would be printed over one another on a logarithmic axis."""
    kept: list[int] = []
    span = (counts[-1] / counts[0]) ** (1 / most) if counts else 1.0
    for count in counts:
        if not kept or count >= kept[-1] * span:
            kept.append(count)
    return kept
