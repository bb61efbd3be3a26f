"""How single values are written, in a terminal and on a page."""

from __future__ import annotations

from gendistill.report.rows import Fidelity, Score
from gendistill.words import byte_size

__all__ = ["byte_size", "distance", "duration", "image_count", "number", "per_update", "percent", "points"]


def percent(score: Score | None) -> str:
    """Write ``81.2 ± 1.0``, without the spread where there is none, ``–`` for what was not measured."""
    if score is None:
        return "–"
    mean, spread = score_words(score)
    return f"{mean} ± {spread}" if spread else mean


def score_words(score: Score) -> tuple[str, str]:
    """Return a mean and its spread in percent; no spread where there is none, or of one learner."""
    return f"{100 * score.mean:.1f}", "" if score.std is None or score.runs == 1 else f"{100 * score.std:.1f}"


def distance(measured: Fidelity | None) -> str:
    """Write a distance with its spread over draws, where it has one."""
    if measured is None:
        return "–"
    return number(measured.value) + ("" if measured.std is None else f" ± {number(measured.std)}")


def points(difference: float) -> str:
    """Write a difference of accuracies in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def image_count(images: int | None, decoded: int | None = None) -> str:
    """Write a number of stored images, and how many they show where that differs; some teachers make fresh ones."""
    if images is None:
        return "fresh"
    return f"{images:,}" if decoded in (None, images) else f"{images:,} (shows {decoded:,})"


def per_update(images: float | None) -> str:
    """Write how many images a learner saw in an update."""
    if images is None:
        return "–"
    return f"{images:,.0f}" if abs(images - round(images)) < 0.05 else f"{images:,.1f}"


def duration(seconds: float | None) -> str:
    """Write seconds with as many digits as matter."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}"


def number(value: float) -> str:
    """Write a fidelity score with three significant digits or all of its whole ones; rounding noise is 0."""
    if abs(value) < 1e-9:
        return "0"
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")
