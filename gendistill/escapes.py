"""Names and sentences of others as a spreadsheet, a Markdown page and a figure take them: as text, whatever is in them.

A terminal's are in :mod:`gendistill.visible`, those of the report's page in :mod:`gendistill.report.markup`.
"""

from __future__ import annotations

import html
import re

from gendistill.visible import visible

LONGEST_NAME = 1_000
"""Characters of a name in a cell; readers of tables refuse far longer ones."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet computes, or in which it looks for such a beginning."""
MARKS = re.compile(r"[\\`*_\[\]|~!$]|:(?=//)|(?<=www)\.|^[-+#=]|(?<=^\d)[.)]")


def spreadsheet_cell(text: str, limit: int | None = None) -> str:
    """Return text for a cell of a table that a spreadsheet may open: no formula, one line.

    What would be computed gets an apostrophe in front, as a person would type it; text without such a beginning and
    without control characters stays as it is.

    Args:
        text: A name or a sentence.
        limit: See :func:`gendistill.visible.visible`.
    """
    shown = visible(text, limit)
    # A space, a quotation mark or our own apostrophe in front hides no formula from every program.
    start = text.lstrip(" '\"\u00a0\ufeff")
    return f"'{shown}" if start.startswith(FORMULA) else shown


def markdown(text: str) -> str:
    """Return text for a line or a cell of a Markdown page: no mark-up, HTML, link or picture in it."""
    return html.escape(MARKS.sub(r"\\\g<0>", visible(" ".join(text.split()), 1_000)), quote=False)


def figure_text(text: str) -> str:
    """Return text for a figure, in which dollar signs would begin a formula."""
    return visible(text, 60).replace("$", r"\$")
