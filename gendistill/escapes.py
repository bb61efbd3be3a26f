"""Names and sentences of others as a spreadsheet, a Markdown page, a figure and LaTeX take them: as text, as they are.

A terminal's are in :mod:`gendistill.visible`, those of the report's page in :mod:`gendistill.report.markup`.
"""

from __future__ import annotations

import html
import re
import unicodedata

from gendistill.visible import visible

LONGEST_NAME = 1_000
"""Characters of a name in a cell; readers of tables refuse far longer ones."""
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "\u00a0": "~", "–": "--", "—": "---", "…": r"\ldots{}",
    "“": "``", "”": "''", "’": "'", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "∞": r"$\infty$", "‖": r"$\|$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "→": r"$\to$", "√": r"$\surd$", "µ": r"$\mu$",
    "✓": r"$\surd$", "▲": r"$\uparrow$", "▼": r"$\downarrow$", "†": r"\dag{}",
    "\u200b": "{}",
}  # fmt: skip
"""What LaTeX reads for a character as itself. Brackets and stars are those of options after a line's end."""
LACKED = "ĦħĸĿŀŉŦŧſ"
"""Letters of Latin Extended-A that are not in T1."""
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


def latex(text: str) -> str:
    """Return text for LaTeX: what would be a command, a comment or a formula stands there as it is.

    Letters that pdfLaTeX's T1 fonts lack are given to ``\\otherletter``, which XeLaTeX and LuaLaTeX print and pdfLaTeX
    replaces by their number; :data:`OTHER_LETTER` defines it.
    """
    shown = unicodedata.normalize("NFC", visible(text, LONGEST_NAME))
    # Several hyphens of a name would become a dash; a dash is written as several of them.
    return "".join(map(_in_latex, re.sub(r"-(?=-)", f"-{APART}", shown)))


APART = "\u200b"
"""Between hyphens: an empty group."""


OTHER_LETTER = (
    r"\providecommand{\otherletter}[2]{\ifdefined\XeTeXversion#1\else\ifdefined\directlua#1\else(U+#2)\fi\fi}"
)
"""Stands once in each file in which :func:`latex` may have used it."""


def _in_latex(character: str) -> str:
    known = LATEX.get(character)
    if known is not None:
        return known
    latin = character.isalpha() and "\u00c0" <= character <= "\u017f" and character not in LACKED
    if " " <= character <= "~" or latin:
        return character
    return f"\\otherletter{{{character}}}{{{ord(character):04X}}}"
