"""What a data card says of a teacher's results: accuracy with its protocol and interval, distances, budgets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from math import sqrt
from typing import Any

from gendistill.commands.judge import short_name
from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.words import counted, listed


def published(results: Mapping[str, Any], source: str, teacher: str) -> dict[str, str]:
    """Return the lines of a card that results say of a teacher.

    Args:
        results: ``{"teachers": [result of an evaluation, ...]}``, checked.
        source: What to call it in an error: a file.
        teacher: The teacher's reference; among several results it is found by its path or its short name.

    Returns:
        Words by what they are of.

    Raises:
        UserError: None or more than one of the results is of this teacher.
    """
    one = _of(results, source, teacher)
    private = one.get("privacy") is not None
    facts: dict[str, str] = {}
    if (learning := one.get("learning")) is not None:
        facts |= _learning(learning)
    if private and (one.get("fidelity") or one.get("seconds") is not None):
        note("the card of a private teacher has no distance to the images that it protects, and no time, which tells "
             "how many there are")  # fmt: skip
    if not private and (fidelity := one.get("fidelity")) and fidelity.get("value") is not None:
        facts["distance to real images"] = f"{fidelity.get('name') or 'FD'} {fidelity['value']:.2f}"
        if fidelity.get("n") is not None:
            facts["distance to real images"] += f" of {fidelity['n']:,} images"
    if not private and one.get("seconds") is not None:
        facts["seconds to make"] = f"{one['seconds']:,.0f}"
    updates = (one.get("budget") or {}).get("learner_updates")
    if updates is not None:
        facts["updates of a learner"] = f"{updates:,}"
    return facts


def interval(runs: list[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of runs, by Student's t; None for fewer than two."""
    from gendistill.evaluation.comparison import quantile

    if len(runs) < 2:
        return None
    mean, reach = statistics.fmean(runs), float(quantile(len(runs) - 1.0)) * statistics.stdev(runs) / sqrt(len(runs))
    return max(0.0, mean - reach), min(1.0, mean + reach)


def _of(results: Mapping[str, Any], source: str, teacher: str) -> Mapping[str, Any]:
    found = results["teachers"]
    if len(found) == 1:
        only: Mapping[str, Any] = found[0]
        return only
    fitting = [one for one in found if teacher == (one.get("teacher") or {}).get("path")]
    fitting = fitting or [one for one in found if one.get("name") == short_name(teacher)]
    if len(fitting) != 1:
        names = listed([str(one.get("name")) for one in found])
        raise UserError(f"'{source}' has results of {names}; give one of '{teacher}' alone, as evaluate writes it")
    chosen: Mapping[str, Any] = fitting[0]
    return chosen


def _learning(learning: Mapping[str, Any]) -> dict[str, str]:
    accuracy = learning.get("accuracy") or {}
    lines = {}
    runs = accuracy.get("runs") or [None] * len(learning.get("updates") or ())
    for count, mean, values in zip(learning.get("updates") or (), accuracy.get("mean") or (), runs, strict=False):
        if mean is None:
            continue
        reach = interval([float(value) for value in values or ()])
        words = f"{100 * mean:.1f} %" + ("" if reach is None else f" [{100 * reach[0]:.1f}, {100 * reach[1]:.1f}]")
        lines[f"test accuracy after {counted(int(count), 'update')}"] = words
    spec = learning.get("learner")
    learner = spec.get("class_path", "") if isinstance(spec, Mapping) else spec or ""
    seeds = learning.get("seeds")
    how = [f"protocol {learning['protocol']}"] if learning.get("protocol") else []
    how += [f"learner {str(learner).rpartition('.')[2]}"] if learner else []
    how += [f"{counted(len(seeds), 'learner')} of first weights of their own"] if isinstance(seeds, list) else []
    return lines | {"how accuracy was measured": "; ".join([*how, "mean with its 95 % interval over them"])}
