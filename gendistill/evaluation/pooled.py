"""One result for several runs of one experiment: means and spreads over runs, not over learners."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.errors import UserError
from gendistill.evaluation.modes import GENERATOR, per_generator
from gendistill.evaluation.neighbours import SCORES
from gendistill.evaluation.scores import over_runs
from gendistill.evaluation.settings import differing
from gendistill.words import listed

PER_RUN = ("accuracy", "seeds", "lr", "selection", "seconds")


def pooled(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the results of several runs as one.

    Args:
        results: What :func:`gendistill.evaluation.evaluate.evaluate` returned for each run, all with the same options;
            each may have ``seconds`` (of making the teacher) beside.

    Returns:
        A result of the same form. ``accuracy`` has, by number of updates, one number a run in ``runs`` (the mean over
        that run's learners), their ``mean`` and sample ``std`` (None for one run), and the same of the balanced
        accuracy; ``per_class`` is the mean over the runs. ``fidelity`` has the mean as ``value``, and ``std`` and
        ``runs`` of the runs, each itself the mean over its draws; so have its ``kid`` and its ``whole``, and the scores
        of neighbours, the Inception Score and what making took are means over runs. ``architectures`` are pooled as
        ``learning`` is. ``modes`` has means, too, and for each view of them ``spread`` (``std`` and ``runs`` of each
        number); of a mixture's generators the mean over those of all runs. ``notes`` are those of all runs; one that
        not all have names its run. ``selection`` keeps what the runs chose among. What else differs between runs is
        the first one's.

    Raises:
        UserError: There is no result, or runs were measured under different settings or at different numbers of
            updates or of images.
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
        first["fidelity"] = _fidelity([one["fidelity"] for one in results])
    if first.get("modes") is not None:
        first["modes"] = _modes([one["modes"] for one in results])
    if any(one.get("notes") for one in results):
        first["notes"] = _notes(results)
    if all(one.get("architectures") for one in results):
        first["architectures"] = _architectures([one["architectures"] for one in results])
    made = [(one.get("teacher") or {}).get("making") or {} for one in results]
    if known := [name for name in made[0] if all(name in one for one in made)]:
        first["teacher"] = {**first["teacher"], "making": {name: _mean([one[name] for one in made]) for name in known}}
    sums = list(dict.fromkeys((one.get("teacher") or {}).get("checksum") for one in results))
    if len(sums) > 1:
        first["teacher"] = {**first["teacher"], "checksum": None, "checksums": sums}
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
    accuracy: dict[str, Any] = {key: [row[key] for row in rows] for key in ("mean", "std", "runs")}
    scores = [one["accuracy"] for one in results]
    if all("balanced" in one and "per_class" in one for one in scores):  # results of earlier versions have neither
        accuracy["balanced"] = over_runs(
            [list(row) for row in zip(*(one["balanced"]["mean"] for one in scores), strict=True)]
        )
        accuracy["per_class"] = [_means(row) for row in zip(*(one["per_class"] for one in scores), strict=True)]
    different: dict[str, Any] = {key: [one[key] for one in results] for key in ("seeds", "lr")}
    # What every run chose among; what it found there is its own.
    chosen = results[0].get("selection")
    different["selection"] = chosen and {key: chosen[key] for key in ("select", "candidates") if key in chosen}
    return (
        {key: value for key, value in results[0].items() if key not in PER_RUN}
        | {"accuracy": accuracy, **different}
        | {"seconds": sum(one["seconds"] for one in results)}
    )


def _architectures(results: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the curves of each kind of learner, one number a run."""
    found = []
    for curves in zip(*results, strict=True):
        if len({(curve["name"], tuple(curve["updates"])) for curve in curves}) > 1:
            raise UserError("runs were judged by different learners; evaluate them with the same options")
        means = [curve["accuracy"]["mean"] for curve in curves]
        rows = [_spread([run[place] for run in means], "mean") for place in range(len(curves[0]["updates"]))]
        accuracy = {key: [row[key] for row in rows] for key in ("mean", "std", "runs")}
        rest = {key: value for key, value in curves[0].items() if key not in ("accuracy", "lr", "seconds")}
        found.append(rest | {"accuracy": accuracy, "lr": [curve.get("lr") for curve in curves]})
    return found


def _mean(values: Sequence[float]) -> float:
    """Return the mean; of whole numbers a whole one, such as bytes."""
    mean = statistics.fmean(values)
    return round(mean) if all(isinstance(value, int) for value in values) else mean


def _means(runs: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return the mean of each class over runs; None for a class that has no image in any."""
    known = [[value for value in values if value is not None] for values in zip(*runs, strict=True)]
    return [statistics.fmean(values) if values else None for values in known]


def _fidelity(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    # Distances depend on the number of images, and on whom they are measured to.
    for name in ("name", "reference", "reference_n", "n"):
        if len(kinds := {one.get(name) for one in results}) > 1:
            raise UserError(
                f"runs differ in {name} of fidelity: {', '.join(sorted(map(str, kinds)))}; distances of different "
                "draws have no common mean, evaluate the runs with the same options, such as count"
            )
    pooled = dict(results[0]) | _spread([one["value"] for one in results], "value")
    if all("kid" in one for one in results):
        pooled["kid"] = dict(pooled["kid"]) | _spread([one["kid"]["value"] for one in results], "value")
    if all(one.get("whole") for one in results):
        sizes = {one["whole"]["n"] for one in results}
        if len(sizes) > 1:
            del pooled["whole"]
        else:
            pooled["whole"] = dict(pooled["whole"]) | _spread([one["whole"]["value"] for one in results], "value")
    if all(one.get("inception_score") for one in results):
        scores = _spread([one["inception_score"]["mean"] for one in results], "mean")
        pooled["inception_score"] = dict(pooled["inception_score"]) | scores
    if any(one.get("notes") for one in results):
        pooled["notes"] = _notes(results)
    for name in SCORES:
        if all(name in one for one in results):
            pooled[name] = _spread([one[name] for one in results], name)[name]
    return pooled


def _modes(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the modes that runs capture: one view for all of them, of a mixture's generators all together."""
    first = dict(results[0])
    if len(results) == 1:
        return first
    views = [{view["name"]: view for view in one["views"]} for one in results]
    kept = [name for name in views[0] if not name.startswith(GENERATOR) and all(name in one for one in views)]
    spread: dict[str, Any] = {}
    means = []
    for name in kept:
        keys = [key for key in views[0][name] if key != "name"]
        rows = {key: _spread([_finite(one[name].get(key)) for one in views], "mean") for key in keys}
        # A divergence that is infinite in one run has no mean.
        means.append({"name": name} | {key: None if None in row["runs"] else row["mean"] for key, row in rows.items()})
        spread[name] = {key: {"std": row["std"], "runs": row["runs"]} for key, row in rows.items()}
    single = [view for one in views for name, view in one.items() if name.startswith(GENERATOR)]
    first.pop("per_generator", None)
    return first | {"views": means, "spread": spread} | per_generator(single)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the notes of all runs, each once; one that only some have says which."""
    found: dict[str, list[str]] = {}
    for place, one in enumerate(results):
        for note in dict.fromkeys(one.get("notes") or ()):
            found.setdefault(note, []).append(str(place))
    return [
        note if len(runs) == len(results) else f"run{'s' if len(runs) > 1 else ''} {listed(runs)}: {note}"
        for note, runs in found.items()
    ]


def _spread(values: Sequence[float | None], name: str) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {
        name: statistics.fmean(known) if known else None,
        "std": statistics.stdev(known) if len(known) > 1 else None,
        "runs": list(values),
    }
