"""Sentences for a person that are no result: on stderr, once for all processes of a run."""

from __future__ import annotations

import os
import sys

from gendistill.plain import readable


def tell(sentence: str) -> None:
    """Print a sentence on stderr, unless another process of this run does."""
    if os.environ.get("RANK", "0") == "0":
        print(readable(sentence), file=sys.stderr, flush=True)
