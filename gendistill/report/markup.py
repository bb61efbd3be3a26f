"""Text on the page."""

from __future__ import annotations

import html
import re

SPACE = "\u00a0"
"""A space at which no line ends."""


def escaped(value: object) -> str:
    """Return text for the page; a number is not parted from its sign and its unit at the end of a line."""
    joined = re.sub(r"(?<=\d) ± (?=\d)", f"{SPACE}±{SPACE}", html.escape(str(value)))
    return re.sub(r"(?<=\d) %", f"{SPACE}%", joined)
