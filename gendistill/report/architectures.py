"""Accuracy of several kinds of learners, as rows of text for a terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.report.cells import percent
from gendistill.report.rows import scores_of
from gendistill.words import counted


def architecture_cells(results: Mapping[str, Any]) -> list[list[str]]:
    """Return a table of teachers by learners as rows of text, the heading first; empty without any.

    Args:
        results: ``{"teachers": [...]}``; those with ``architectures`` were judged by several kinds of learners.
    """
    judged = [one for one in results["teachers"] if one.get("architectures")]
    names = list(dict.fromkeys(str(curve["name"]) for one in judged for curve in one["architectures"]))
    rows = []
    for place, one in enumerate(judged):
        last = {}
        for curve in one["architectures"]:
            scores = scores_of({"accuracy": curve["accuracy"], "updates": curve["updates"]})
            last[str(curve["name"])] = percent(scores[max(scores)] if scores else None)
        rows.append([str(one.get("name") or f"teacher {place}"), *(last.get(name, "–") for name in names)])
    return [["teacher", *names], *rows] if rows else []


def architecture_sentences(results: Mapping[str, Any]) -> list[str]:
    """Return what the columns of :func:`architecture_cells` are."""
    curves = [curve for one in results["teachers"] for curve in one.get("architectures") or ()]
    if not curves:
        return []
    ends = sorted({max(curve["updates"]) for curve in curves if curve["updates"]})
    sizes = {str(curve["name"]): f"{curve['name']} {curve['parameters']:,}" for curve in curves if curve["parameters"]}
    after = " or ".join([*(f"{end:,}" for end in ends[:-1]), *(counted(end, "update") for end in ends[-1:])])
    return [
        f"Accuracy in % of other kinds of learners after {after}, each at the rate that its own validation "
        f"accuracy chose; parameters: {', '.join(sizes.values())}."
    ]
