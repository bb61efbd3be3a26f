"""Line figures as inline SVG that takes its colours and its font from the page around it.

Each is there twice: for a window, and for a phone, with letters that can be read without enlarging it. The page's style
shows the one that fits.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gendistill.report.drawing import (
    INK,
    PAPER,
    PHONE,
    RULE,
    SCREEN,
    Form,
    Style,
    differences_figure,
    front_figure,
    learning_figure,
    named_curve_figure,
    styles,
)
from gendistill.report.front import Front
from gendistill.report.markup import attribute
from gendistill.report.rows import Row
from gendistill.report.verdict import Verdict
from gendistill.visible import visible

__all__ = ["Style", "differences", "fronts_figure", "learning_curves", "line_figure", "page_figure", "styles", "swatch"]


def learning_curves(
    table: Sequence[Row],
    looks: Mapping[str, Style],
    label: str,
    *,
    accuracy: str = "accuracy",
    by_epoch: bool = False,
    error: bool = False,
) -> str:
    """Return the figure of :func:`gendistill.report.drawing.learning_figure` for the page.

    Args:
        table: The teachers.
        looks: From :func:`styles`.
        label: Text for people who cannot see the figure.
        accuracy: What the vertical axis is called, such as ``test accuracy``.
        by_epoch: Draw against passes over each teacher's images instead.
        error: Draw the error on a logarithmic axis instead.

    Returns:
        ``<svg>`` elements.
    """
    name = ("epochs" if by_epoch else "curves") + ("-error" if error else "")
    return _twice(
        lambda form: learning_figure(table, looks, form, accuracy=accuracy, by_epoch=by_epoch, error=error), name, label
    )


def differences(found: Verdict, looks: Mapping[str, Style], label: str) -> str:
    """Return the figure of :func:`gendistill.report.drawing.differences_figure` for the page.

    Args:
        found: The conclusions.
        looks: From :func:`styles`.
        label: Text for people who cannot see the figure.

    Returns:
        ``<svg>`` elements.
    """
    return _twice(lambda form: differences_figure(found, looks, form), "differences", label)


def fronts_figure(found: Front, looks: Mapping[str, Style], label: str, *, accuracy: str = "accuracy") -> str:
    """Return the figure of :func:`gendistill.report.drawing.front_figure` for the page.

    Args:
        found: The teachers' places.
        looks: From :func:`styles`.
        label: Text for people who cannot see the figure.
        accuracy: What the vertical axis is called.

    Returns:
        ``<svg>`` elements.
    """
    name = f"front-{found.what.replace(' ', '-')}"
    return _twice(lambda form: front_figure(found, looks, form, accuracy=accuracy), name, label)


def line_figure(name: str, curve: Mapping[str, Any], label: str) -> str:
    """Return the figure of :func:`gendistill.report.drawing.named_curve_figure` for the page.

    Args:
        name: Its name, unique on the page.
        curve: See there.
        label: Text for people who cannot see the figure.

    Returns:
        ``<svg>`` elements.
    """
    return _twice(lambda form: named_curve_figure(name, curve, form), name, label)


def page_figure(draw: Callable[[Form], Any], name: str, label: str) -> str:
    """Return any figure for the page, for a window and for a phone.

    Args:
        draw: Draws it in a form.
        name: Its name, unique on the page.
        label: Text for people who cannot see the figure.
    """
    return _twice(draw, name, label)


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


def _twice(draw: Callable[[Form], Any], name: str, label: str) -> str:
    wide, narrow = _svg(draw(SCREEN), name, label, "wide"), _svg(draw(PHONE), f"{name}-narrow", label, "narrow")
    return f"{wide}\n{narrow}"


def _svg(figure: Any, name: str, label: str, where: str) -> str:
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
    attributes = f'class="figure {where}" role="img" aria-label="{attribute(label)}"'
    # By a function: backslashes of a name are not those of a template.
    start = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
    return start.sub(lambda found: f'<svg {attributes} viewBox="{found[1]}">', text, count=1).strip()
