"""The fidelity of one teacher in words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.report.cells import number

# Not imported from the room that computes them, which would load torch.
SCORES = ("precision", "recall", "density", "coverage")


def fidelity_words(fidelity: Mapping[str, Any]) -> str:
    """Return the fidelity of one teacher as lines for a person: every score with what it was measured on."""
    lines = [] if fidelity["value"] is None else _scores(fidelity)
    return "fidelity   " + "\n           ".join([*lines, *fidelity["notes"]])


def _scores(fidelity: Mapping[str, Any]) -> list[str]:
    whole, kid, score = fidelity["whole"], fidelity["kid"], fidelity["inception_score"]
    drawn = f"{fidelity['n']:,} images" if fidelity["draws"] == 1 else f"{fidelity['draws']} draws of {fidelity['n']:,}"
    more = f"; all {whole['n']:,}: {number(whole['value'])}" if whole["n"] != fidelity["n"] else ""
    against = f"against {fidelity['reference_n']:,} {fidelity['reference']} images"
    lines = [f"{fidelity['name']} {_spread(fidelity)} ({drawn}{more}), {against}"]
    if kid["value"] is not None:
        lines.append(f"{kid['name']} {_spread(kid)} ({kid['estimator']}, {kid['n']:,} images)")
    of_recall = "" if fidelity["nearest"] == fidelity["recall_nearest"] else f", of recall {fidelity['recall_nearest']}"
    scores = ", ".join(f"{name} {fidelity[name]:.2f}" for name in SCORES)
    lines.append(f"{scores} (nearest neighbour {fidelity['nearest']}{of_recall})")
    if score is not None:
        lines.append(f"{score['name']} {score['mean']:.2f} ({score['splits']} split{'s' * (score['splits'] != 1)})")
    held_out = fidelity.get("memorising")
    if held_out is not None and held_out["train"] is not None:
        pair = f"{number(held_out['train'])} to training images, {number(held_out['test'])} to test images"
        lines.append(f"{fidelity['name']} {pair} ({held_out['reference_n']:,} of each)")
    return lines


def _spread(score: Mapping[str, Any]) -> str:
    return number(score["value"]) + (f" ± {score['std']:.2g}" if score["std"] is not None else "")
