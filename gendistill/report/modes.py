"""Modes captured, as rows of text for a terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.report.cells import number

HEADING = [
    "modes of", "captured", "covered", "good %",
    "KL(it ‖ real)", "KL(real ‖ it)", "KL(all ‖ real)", "KL(real ‖ all)", "W1",
]  # fmt: skip
WORDS = {
    "points": "Captured: modes with a good sample, within three standard deviations of the nearest mode; covered: with "
    "a tenth of their fair share. KL(it ‖ real) and the reverse, in nats: of the good samples' modes, and of all "
    "samples', each given to the nearest; ∞: a mode has none. W1: Wasserstein distance to real points.",
    "stacked digits": "Captured: triples of classes that are seen, by the classifier of one channel; covered: with a "
    "tenth of their fair share. KL(it ‖ real) of the triples' histogram, in nats. The row of real images is what the "
    "classifier's errors and the number of samples leave.",
}
"""What the columns mean, by what the modes are of."""


def mode_cells(results: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of the modes that teachers capture as rows of text, the heading first; empty without any.

    Args:
        results: ``{"teachers": [...]}``; real samples stand once, at the end.
    """
    rows, real = [], None
    for place, result in enumerate(results["teachers"]):
        modes = result.get("modes")
        if modes is None:
            continue
        name = str(result.get("name") or f"teacher {place}")
        for view in modes["views"]:
            if view["name"] == "real":
                real = _cells("real samples", view, modes)
                continue
            rows.append(_cells(name if view["name"] == "whole" else f"{name}: {view['name']}", view, modes))
        if (each := modes.get("per_generator")) is not None:
            rows.append(_spreads(f"{name}: mean of its generators", each, modes))
    table = [HEADING, *rows, *([real] if real else [])] if rows else []
    # A column that nothing fills is left out.
    kept = [column for column in range(len(HEADING)) if any(row[column] != "–" for row in table[1:])]
    return [[row[column] for column in kept] for row in table]


def mode_sentences(results: Mapping[str, Any]) -> list[str]:
    """Return what the columns of :func:`mode_cells` mean, a sentence or two for each kind of modes."""
    found = []
    for result in results["teachers"]:
        modes = result.get("modes")
        if modes and modes["of"] in WORDS:
            accuracy = modes.get("channel_accuracy")
            of_channels = "" if accuracy is None else f" It tells {100 * accuracy:.2f} % of the real channels right."
            words = f"{WORDS[modes['of']]}{of_channels}"
            found.append(f"Of {modes['n']:,} samples, {modes['total']:,} modes. {words}")
    return list(dict.fromkeys(found))


def _cells(name: str, view: Mapping[str, Any], modes: Mapping[str, Any]) -> list[str]:
    spread = (modes.get("spread") or {}).get(view["name"])
    if spread is not None:
        each = {key: {"mean": view.get(key), "std": row["std"]} for key, row in spread.items()}
        return _spreads(name, each, modes)
    good, distance = view.get("high_quality"), view.get("wasserstein")
    return [
        name,
        f"{view['captured']} of {modes['total']}",
        str(view["covered"]),
        "–" if good is None else f"{100 * good:.1f}",
        *_pair(view, ""),
        *_pair(view, "_all"),
        "–" if distance is None else number(distance),
    ]


def _spreads(name: str, each: Mapping[str, Any], modes: Mapping[str, Any]) -> list[str]:
    """Return means with their standard deviations, over generators or over runs, as a row."""

    def words(key: str, scale: float = 1.0) -> str:
        value = each.get(key)
        if value is None or value["mean"] is None:
            other = each.get(key.replace("kl_real", "kl"))
            return "∞" if key.startswith("kl_real") and other and other["mean"] is not None else "–"
        spread = "" if value["std"] is None else f" ± {scale * value['std']:.2g}"
        return f"{scale * value['mean']:.3g}{spread}"

    return [name, f"{words('captured')} of {modes['total']}", words("covered"), words("high_quality", 100.0), *(
        words(key) for key in ("kl", "kl_real", "kl_all", "kl_real_all", "wasserstein"))]  # fmt: skip


def _pair(view: Mapping[str, Any], ending: str) -> Sequence[str]:
    one, other = view.get(f"kl{ending}"), view.get(f"kl_real{ending}")
    if one is None:  # no sample has a mode
        return "–", "–"
    # JSON has no infinity: a divergence that is not there beside one that is, is infinite.
    return f"{one:.4f}", "∞" if other is None else f"{other:.4f}"
