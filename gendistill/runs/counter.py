"""How far the work before a run's first step has come."""

from __future__ import annotations

from collections.abc import Callable

from gendistill.counter import Counter
from gendistill.runs.context import RunContext

Tell = Callable[[int, int], None]
"""Takes how much is done, and of how much."""


def counter_of(run: RunContext, what: str, unit: str) -> Tell:
    """Return what tells of the work before a run's first step; nobody is told where ``run.progress`` is false.

    Args:
        run: The run; of several processes the first one speaks.
        what: See :class:`gendistill.counter.Counter`.
        unit: See there.
    """
    return Counter(what, unit) if run.options.progress and run.processes.main else lambda done, total: None
