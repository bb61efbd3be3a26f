"""Utility against epsilon: what private teachers reach, beside those that promise nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gendistill.errors import UserError
from gendistill.escapes import figure_text
from gendistill.report.drawing import PRINT, Form, new_axes, styles, with_legend

BY_EPSILON = ", epsilon"
"""What rows of one method are told apart by: ``matching, epsilon 10``."""

APART = 1.2
"""Ticks of epsilon whose numbers would lie on one another are one: budgets that are spent nearly to the same sum."""


@dataclass(frozen=True)
class Point:
    """One private teacher: its epsilon, and the accuracy of learners of it, a fraction, with the std over runs."""

    epsilon: float
    mean: float
    std: float | None


@dataclass
class Utility:
    """What is drawn.

    Attributes:
        private: Method -> its points, by epsilon.
        public: Teachers without a promise -> accuracy.
        delta: Of all promises; None where there is none, or they differ.
    """

    private: dict[str, list[Point]] = field(default_factory=dict)
    public: dict[str, float] = field(default_factory=dict)
    delta: float | None = None


def utility(teachers: Sequence[Mapping[str, Any]]) -> Utility:
    """Return what results say of utility and privacy.

    Args:
        teachers: Results of learning, some of private teachers. Those whose private sums are of one kind are one
            method, called as its rows are called without ``, epsilon``.

    Raises:
        UserError: None of them promises privacy.
    """
    found = Utility()
    deltas: set[float] = set()
    named: dict[str, str] = {}
    points: dict[str, list[Point]] = {}
    for one in teachers:
        if not one.get("learning"):
            continue
        name, accuracy = str(one.get("name", "teacher")), one["learning"]["accuracy"]
        mean, std = accuracy["mean"][-1], (accuracy.get("std") or [None])[-1]
        if mean is None:
            continue
        if not (promise := one.get("privacy")):
            found.public[name] = mean
            continue
        kind, deltas = promise["sums"], deltas | {promise["delta"]}
        points.setdefault(kind, []).append(Point(promise["epsilon"], mean, std))
        if kind not in named or BY_EPSILON in name:
            named[kind] = name.partition(BY_EPSILON)[0]
    if not points:
        raise UserError("none of these results is of a private teacher; give those of gendistill evaluate or replicate")
    for kind, ones in points.items():
        name = named[kind] if list(named.values()).count(named[kind]) == 1 else f"{named[kind]} ({kind})"
        found.private[name] = sorted(ones, key=lambda point: point.epsilon)
    found.delta = deltas.pop() if len(deltas) == 1 else None
    return found


def utility_figure(found: Utility, form: Form = PRINT) -> Any:
    """Draw accuracy against epsilon (logarithmic), with one standard deviation; teachers without a promise as lines.

    Args:
        found: From :func:`utility`.
        form: Where the figure will stand.

    Returns:
        A matplotlib ``Figure``.
    """
    figure, axes = new_axes(form, 4.1)
    looks = styles([*found.private, *found.public])
    for name, points in found.private.items():
        look, colour = looks[name], form.colour(looks[name])
        axes.errorbar(
            [point.epsilon for point in points], [100 * point.mean for point in points],
            yerr=[100 * (point.std or 0.0) for point in points], color=colour, marker=look.marker, markersize=5,
            linewidth=1.6, linestyle=look.dashes, elinewidth=1.1, label=figure_text(name),
        )  # fmt: skip
    for name, mean in found.public.items():
        look, colour = looks[name], form.colour(looks[name])
        axes.axhline(100 * mean, color=colour, linewidth=1.2, linestyle=(0, (4, 2)), label=figure_text(name))
    axes.set_xscale("log")
    ticks: list[float] = []
    for spent in sorted({float(f"{point.epsilon:.2g}") for points in found.private.values() for point in points}):
        if not ticks or spent > APART * ticks[-1]:
            ticks.append(spent)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("epsilon (log)" if found.delta is None else f"epsilon at delta {found.delta:g} (log)")
    axes.set_ylabel("accuracy of learners, %")
    return with_legend(figure, axes, form)
