"""Progress bars, on a terminal and in a notebook."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, whose page shows what is written to it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def bar(*, total: int, initial: int, desc: str, unit: str) -> Any:
    """Return tqdm's bar, as a notebook draws it where this is one.

    Args:
        total: At its end.
        initial: At its beginning.
        desc: What stands before it.
        unit: What is counted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets it falls back on a bar of letters, and says so at length
        from tqdm.auto import tqdm

        return tqdm(total=total, initial=initial, desc=desc, unit=unit, dynamic_ncols=True, leave=True)
