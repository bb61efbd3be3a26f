"""Modes captured, as rows of text for a terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.evaluation.comparison import paired_intervals
from gendistill.report.cells import number
from gendistill.words import counted

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
    return [*dict.fromkeys(found), *against_first(results)]


def against_first(results: Mapping[str, Any]) -> list[str]:
    """Return how far each teacher is from the first one, run by run, as a sentence; none where fewer than two runs are.

    Of points it compares W1, of stacked digits the modes that are captured. The intervals are Student's, corrected for
    the number of comparisons (Holm).
    """
    seen: dict[str, dict[str, list[float]]] = {}
    for place, result in enumerate(results["teachers"]):
        spread = ((result.get("modes") or {}).get("spread") or {}).get("whole") or {}
        name = str(result.get("name") or f"teacher {place}")
        seen[name] = {key: row["runs"] for key, row in spread.items() if None not in row["runs"]}
    if len(seen) < 2:
        return []
    first, *others = seen
    for key, called, digits in (("wasserstein", "W1", 3), ("captured", "Modes captured", 1)):
        base = seen[first].get(key, [])
        pairs = {name: seen[name][key] for name in others if len(seen[name].get(key, [])) == len(base) > 1}
        if not pairs:
            continue
        found = paired_intervals([[a - b for a, b in zip(values, base, strict=True)] for values in pairs.values()])
        said = [
            f"{name} {mean:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
            for name, (mean, low, high) in zip(pairs, found, strict=True)
        ]
        how = f"run by run ({len(base)} runs; 95 % intervals, corrected for {counted(len(pairs), 'comparison')})"
        return [f"{called} against {first}, {how}: {', '.join(said)}."]
    return []


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
        spread = "" if value["std"] is None else f" ± {_rounded(scale * value['std'], 2)}"
        return f"{_rounded(scale * value['mean'], 3)}{spread}"

    return [name, f"{words('captured')} of {modes['total']}", words("covered"), words("high_quality", 100.0), *(
        words(key) for key in ("kl", "kl_real", "kl_all", "kl_real_all", "wasserstein"))]  # fmt: skip


def _rounded(value: float, digits: int) -> str:
    """Return a number with so many digits, none of which stands for tens: 1,000 modes are not 1e+03."""
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def _pair(view: Mapping[str, Any], ending: str) -> Sequence[str]:
    one, other = view.get(f"kl{ending}"), view.get(f"kl_real{ending}")
    if one is None:  # no sample has a mode
        return "–", "–"
    # JSON has no infinity: a divergence that is not there beside one that is, is infinite.
    return f"{one:.4f}", "∞" if other is None else f"{other:.4f}"
