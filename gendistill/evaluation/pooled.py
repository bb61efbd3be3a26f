"""One result for several runs of one experiment: means and spreads over runs, not over learners."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.errors import UserError
from gendistill.evaluation.settings import differing

PER_RUN = ("accuracy", "seeds", "lr", "selection", "seconds")


def pooled(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the results of several runs as one.

    Args:
        results: What :func:`gendistill.evaluation.evaluate.evaluate` returned for each run, all with the same options;
            each may have ``seconds`` (of making the teacher) beside.

    Returns:
        A result of the same form. ``accuracy`` has, by number of updates, one number a run in ``runs`` (the mean over
        that run's learners), their ``mean`` and sample ``std`` (None for one run). ``fidelity`` has the mean as
        ``value``, the others as ``std`` and ``runs``; ``selection`` keeps what the runs chose among. What else differs
        between runs is the first one's.

    Raises:
        UserError: There is no result, or runs were measured under different settings or at different numbers of
            updates.
    """
    if not results:
        raise UserError("there is no run to pool; give at least one")
    for one in differing(results):
        said = ", ".join(one.groups([f"run {place}" for place in range(len(results))]))
        raise UserError(f"runs differ in {one.name}: {said}; evaluate them with the same options")
    first = dict(results[0])
    if first.get("learning") is not None:
        first["learning"] = _learning([one["learning"] for one in results])
    if first.get("fidelity") is not None:
        for name in ("name", "reference", "n"):
            if len(kinds := {one["fidelity"].get(name) for one in results}) > 1:
                raise UserError(
                    f"runs differ in {name} of fidelity: {', '.join(sorted(map(str, kinds)))}; distances of different "
                    "draws have no common mean, evaluate the runs with the same options"
                )
        values = [one["fidelity"]["value"] for one in results]
        first["fidelity"] = dict(first["fidelity"]) | _spread(values, "value")
    seconds = [one["seconds"] for one in results if one.get("seconds") is not None]
    if seconds:
        first["seconds"] = statistics.fmean(seconds)
    return first


def _learning(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    updates = results[0]["updates"]
    if any(one["updates"] != updates for one in results):
        raise UserError("runs were measured at different numbers of updates; evaluate them with the same options")
    means = [one["accuracy"]["mean"] for one in results]
    rows = [_spread([run[place] for run in means], "mean") for place in range(len(updates))]
    accuracy = {key: [row[key] for row in rows] for key in ("mean", "std", "runs")}
    different: dict[str, Any] = {key: [one[key] for one in results] for key in ("seeds", "lr")}
    # What every run chose among; what it found there is its own.
    chosen = results[0].get("selection")
    different["selection"] = chosen and {key: chosen[key] for key in ("select", "candidates") if key in chosen}
    return (
        {key: value for key, value in results[0].items() if key not in PER_RUN}
        | {"accuracy": accuracy, **different}
        | {"seconds": sum(one["seconds"] for one in results)}
    )


def _spread(values: Sequence[float | None], name: str) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        name: statistics.fmean(known) if known else None,
        "std": statistics.stdev(known) if len(known) > 1 else None,
        "runs": list(values),
    }
