"""Line figures as inline SVG that takes its colours and its font from the page around it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gendistill.escapes import figure_text
from gendistill.report.markup import attribute
from gendistill.report.rows import Row
from gendistill.report.verdict import Verdict
from gendistill.visible import visible

# Colours are written as CSS variables of the page, so that the figure follows a light or dark theme. matplotlib knows
# nothing of them; it is given stand-ins that are replaced in its SVG.
INK, RULE, PAPER = "#ab0100", "#ab0200", "#ab0400"
BAND = 0.09
"""How dense a band is: those of five teachers over one another must leave the lines to be seen."""
DODGE = 0.011
"""How far the bars of two teachers at one number of updates stand apart, as a share of the axis."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("solid", (0, (1.2, 1.4)), "solid", (0, (5, 1.6)), "solid", (0, (5, 1.4, 1.2, 1.4)), "solid", (0, (3, 1.2)))


@dataclass(frozen=True)
class Style:
    """How one teacher looks in every figure: ``colour`` is a CSS variable's number, the others are matplotlib's."""

    colour: int
    marker: str
    dashes: Any

    @property
    def stand_in(self) -> str:
        """The colour that matplotlib is given."""
        return f"#ab03{self.colour:02x}"


def styles(names: Sequence[str], reference: str | None = None) -> dict[str, Style]:
    """Give each teacher a colour, a marker and a dash pattern; the reference takes the text's own colour."""
    others = [name for name in names if name != reference]
    given = {
        name: Style(1 + place % 7, MARKERS[(place + 1) % 8], DASHES[(place + 1) % 8])
        for place, name in enumerate(others)
    }
    return {name: given.get(name, Style(0, MARKERS[0], DASHES[0])) for name in names}


def learning_curves(
    table: Sequence[Row], looks: Mapping[str, Style], label: str, *, accuracy: str = "accuracy", by_epoch: bool = False
) -> str:
    """Draw accuracy against the number of updates (logarithmic), with a band of one standard deviation.

    Args:
        table: The teachers.
        looks: From :func:`styles`.
        label: Text for people who cannot see the figure.
        accuracy: What the vertical axis is called, such as ``test accuracy``.
        by_epoch: Draw against passes over each teacher's images instead (linear), at whole passes only. Teachers with
            fewer images make fewer updates in a pass.

    Returns:
        An ``<svg>`` element.
    """
    figure, axes = _axes(7.6, 4.1)
    counts = sorted({count for row in table for count in row.scores if count > 0})
    for row in sorted(table, key=lambda row: not row.everything):
        look = looks[row.name]
        measured = sorted(count for count in row.scores if count > 0)
        x: list[float] = [*measured]
        if by_epoch:
            measured = [count for count in measured if row.epoch_updates and count % row.epoch_updates == 0]
            x = [count / (row.epoch_updates or 1) for count in measured]
        mean = [100 * row.scores[count].mean for count in measured]
        if any(row.scores[count].std for count in measured):
            spread = [100 * (row.scores[count].std or 0.0) for count in measured]
            low = [one - std for one, std in zip(mean, spread, strict=True)]
            high = [one + std for one, std in zip(mean, spread, strict=True)]
            axes.fill_between(x, low, high, color=look.stand_in, alpha=BAND, linewidth=0)
        size, marks = (5, None) if len(x) <= 20 else (4, max(1, len(x) // 12))
        axes.plot(
            x,
            mean,
            color=look.stand_in,
            marker=look.marker,
            markersize=size,
            markevery=marks,
            linewidth=1.8,
            linestyle=look.dashes,
        )
    if by_epoch:
        axes.set_xlabel("epochs")
    else:
        _by_updates(axes, counts)
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]), top=min(101.0, axes.get_ylim()[1]))
    axes.set_ylabel(f"{figure_text(accuracy)}, %")
    return _svg(figure, "epochs" if by_epoch else "curves", label)


def differences(found: Verdict, looks: Mapping[str, Style], label: str) -> str:
    """Draw how far each teacher is ahead of all real data, with the interval that decides.

    Filled marks are decided: their interval leaves out 0. Bars that leave the figure go on beyond it.

    Args:
        found: The conclusions.
        looks: From :func:`styles`.
        label: Text for people who cannot see the figure.

    Returns:
        An ``<svg>`` element.
    """
    figure, axes = _axes(7.6, 3.4)
    counts = sorted({count for _, count in found.against})
    apart = (counts[-1] / counts[0]) ** DODGE if len(counts) > 1 else 1.02
    names = list(dict.fromkeys(name for name, _ in found.against))
    axes.axhline(0.0, color=INK, linewidth=1.0)
    for place, name in enumerate(names):
        look = looks[name]
        for count in found.counts(name):
            one = found.against[name, count]
            x, mean = count * apart ** (place - (len(names) - 1) / 2), 100 * one.mean
            if one.low is not None and one.high is not None:
                axes.plot([x, x], [100 * one.low, 100 * one.high], color=look.stand_in, linewidth=1.3)
            inside = look.stand_in if one.decided else PAPER
            axes.plot(
                [x], [mean], look.marker, color=look.stand_in, markerfacecolor=inside, markersize=5, markeredgewidth=1.3
            )
    axes.set_ylim(*_limits(found))
    _by_updates(axes, counts)
    axes.set_ylabel("difference, points")
    return _svg(figure, "differences", label)


def _limits(found: Verdict) -> tuple[float, float]:
    """Return limits that hold all differences and, if they are not far wider, their intervals."""
    means = [100 * one.mean for one in found.against.values()]
    low, high = min(0.0, *means), max(0.0, *means)
    beyond = max(5.0, 0.6 * (high - low))
    ends = [100 * end for one in found.against.values() for end in (one.low, one.high) if end is not None]
    return max(low - beyond, min([low, *ends])) - 1.0, min(high + beyond, max([high, *ends])) + 1.0


def _by_updates(axes: Any, counts: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(_spread(counts), [f"{count:,}" for count in _spread(counts)])
    axes.minorticks_off()
    axes.set_xlabel("learner updates n")


def line_figure(name: str, curve: Mapping[str, Any], label: str) -> str:
    """Draw one named curve.

    Args:
        name: Its name, unique on the page.
        curve: ``x`` and ``y``, and optionally ``lower`` and ``upper`` (a band), ``reference`` (a horizontal line),
            ``x_label`` and ``y_label``.
        label: Text for people who cannot see the figure.

    Returns:
        An ``<svg>`` element.
    """
    figure, axes = _axes(7.6, 2.6)
    colour = Style(2, "o", "solid").stand_in
    if curve.get("lower") and curve.get("upper"):
        lower, upper = (_with_gaps(curve[end]) for end in ("lower", "upper"))
        axes.fill_between(curve["x"], lower, upper, color=colour, alpha=0.14, linewidth=0)
    axes.plot(
        curve["x"], _with_gaps(curve["y"]), color=colour, linewidth=1.8, marker="o" if len(curve["x"]) < 2 else None
    )
    if curve.get("reference") is not None:
        axes.axhline(float(curve["reference"]), color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlabel(figure_text(str(curve.get("x_label", "training step"))))
    axes.set_ylabel(figure_text(str(curve.get("y_label", name))))
    axes.margins(y=0.15)
    low, high = axes.get_ylim()
    least = 0.02 * max(abs(low), abs(high))  # rounding errors of a constant shall not fill the figure
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)
    axes.ticklabel_format(axis="y", useOffset=False)
    return _svg(figure, name, label)


def _with_gaps(values: Sequence[float | None]) -> list[float]:
    """Return values of which those that are None are NaN, at which a line and a band are interrupted."""
    return [math.nan if value is None else float(value) for value in values]


def swatch(style: Style) -> str:
    """Return a small ``<svg>`` with a teacher's line and marker, for legends and tables."""
    shapes = {
        "o": '<circle cx="14" cy="6" r="3.4"/>',
        "s": '<rect x="10.8" y="2.8" width="6.4" height="6.4"/>',
        "^": '<path d="M14 2l4 7.4h-8z"/>',
        "D": '<path d="M14 1.6L18.4 6 14 10.4 9.6 6z"/>',
        "v": '<path d="M14 10l4-7.4h-8z"/>',
        "P": '<path d="M12.4 2h3.2v2.4H18v3.2h-2.4V10h-3.2V7.6H10V4.4h2.4z"/>',
        "X": '<path d="M10.4 3.4l1.6-1.6 2 2 2-2 1.6 1.6-2 2.6 2 2.6-1.6 1.6-2-2-2 2-1.6-1.6 2-2.6z"/>',
        "p": '<path d="M14 1.8l4.2 3.1-1.6 5h-5.2l-1.6-5z"/>',
    }
    dashes = "" if isinstance(style.dashes, str) else ",".join(f"{length * 1.8:.1f}" for length in style.dashes[1])
    line = f'<path d="M0 6h28" fill="none" stroke="currentColor" stroke-width="1.8" stroke-dasharray="{dashes}"/>'
    return (
        f'<svg class="swatch" style="color:var(--c{style.colour})" viewBox="0 0 28 12" width="28" height="12" '
        f'aria-hidden="true">{line}<g fill="currentColor">{shapes[style.marker]}</g></svg>'
    )


def _spread(counts: Sequence[int]) -> list[int]:
    """Drop tick values that would be printed over one another on a logarithmic axis."""
    kept: list[int] = []
    span = (counts[-1] / counts[0]) ** (1 / 14) if counts else 1.0
    for count in counts:
        if not kept or count >= kept[-1] * span:
            kept.append(count)
    return kept


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(True, color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.tick_params(colors=INK, length=0, labelsize=9, pad=6)
    axes.xaxis.label.set(color=INK, fontsize=9.5)
    axes.yaxis.label.set(color=INK, fontsize=9.5)
    return figure, axes


def _svg(figure: Any, name: str, label: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": visible(name), "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # matplotlib's groups: the same names in every figure
    text = text.replace("xlink:href", "href")
    text = re.sub(r"font(-family)?: [^;\"]*?(\d+(?:\.\d+)?)px[^;\"]*", r"font-size: \2px", text)
    text = text.replace(INK, "var(--ink-soft)").replace(RULE, "var(--rule)").replace(PAPER, "var(--paper)")
    text = re.sub(r"#ab03([0-9a-f]{2})", lambda found: f"var(--c{int(found[1], 16)})", text)
    attributes = f'class="figure" role="img" aria-label="{attribute(label)}"'
    # By a function: backslashes of a name are not those of a template.
    start = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
    return start.sub(lambda found: f'<svg {attributes} viewBox="{found[1]}">', text, count=1).strip()
