"""Text on the page."""

from __future__ import annotations

import html
import json
import re

from gendistill.visible import LONGEST_SENTENCE, visible

SPACE = "\u00a0"
"""A space at which no line ends."""


def escaped(value: object) -> str:
    """Return text for the page; a number is not parted from its sign and its unit at the end of a line."""
    joined = re.sub(r"(?<=\d) ± (?=\d)", f"{SPACE}±{SPACE}", attribute(value))
    return re.sub(r"(?<=\d) %", f"{SPACE}%", joined)


def attribute(value: object) -> str:
    """Return text for an attribute in quotation marks."""
    return html.escape(visible(str(value), LONGEST_SENTENCE))


def script_json(value: object) -> str:
    """Return a plain value as JSON that ends no element of the page, whatever is in it."""
    text = json.dumps(value, allow_nan=False)  # ASCII alone
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&"})
