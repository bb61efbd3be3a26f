"""Results as rows: what the terminal's table and the report's table both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REFERENCE = "real"


@dataclass(frozen=True)
class Score:
    """Accuracy after one number of updates: mean and sample standard deviation over seeds, as fractions."""

    mean: float
    std: float
    runs: int


@dataclass(frozen=True)
class Row:
    """One teacher.

    Attributes:
        name: What to call it.
        kind: What sort of teacher it is.
        images: Images that it stores; ``None`` for fresh ones without end.
        bytes: Size of what it stores.
        scores: Accuracy by number of learner updates.
        fidelity: Name of the score and its value; ``None`` where it was not measured.
        seconds: What the evaluation (or, where known, the making) took.
        learner: The learner's name.
        epoch_updates: Updates in an epoch, where the training was measured in epochs.
    """

    name: str
    kind: str
    images: int | None
    bytes: int | None
    scores: dict[int, Score] = field(default_factory=dict)
    fidelity: tuple[str, float] | None = None
    seconds: float | None = None
    learner: str = ""
    epoch_updates: int | None = None

    @property
    def is_reference(self) -> bool:
        """Whether this is all real data, which the others are held against."""
        return self.name == REFERENCE


def row(result: Mapping[str, Any]) -> Row:
    """Read one evaluation's result."""
    teacher, learning = result["teacher"], result["learning"]
    accuracy = learning.get("accuracy") or {}
    updates = list(learning.get("updates") or [])
    means, stds = list(accuracy.get("mean") or []), list(accuracy.get("std") or [])
    runs = list(accuracy.get("runs") or [])
    scores = {}
    for place, count in enumerate(updates[: len(means)]):
        std = stds[place] if place < len(stds) else None
        number = len(runs[place]) if place < len(runs) and isinstance(runs[place], Sequence) else 0
        if means[place] is not None:
            scores[int(count)] = Score(float(means[place]), float(std or 0.0), number)
    fidelity = result.get("fidelity")
    measured = isinstance(fidelity, Mapping) and fidelity.get("value") is not None
    seconds = result.get("seconds", learning.get("seconds"))
    return Row(
        name=str(result.get("name") or teacher.get("path") or teacher.get("kind") or "teacher"),
        kind=str(teacher.get("kind", "")),
        images=teacher.get("images"),
        bytes=teacher.get("bytes"),
        scores=scores,
        fidelity=(str(fidelity.get("name", "FD")), float(fidelity["value"])) if measured and fidelity else None,
        seconds=None if seconds is None else float(seconds),
        learner=learner_name(learning.get("learner")),
        epoch_updates=learning["epoch"]["updates"] if learning.get("epochs") else None,
    )


def rows(results: Mapping[str, Any]) -> list[Row]:
    """Read every teacher of ``{"teachers": [...]}``, in order."""
    return [row(result) for result in results["teachers"]]


def learner_name(spec: Any) -> str:
    """Return a learner's short name: the class, without its package."""
    path = spec.get("class_path", "") if isinstance(spec, Mapping) else spec or ""
    return str(path).rpartition(".")[2]


def update_counts(table: Sequence[Row], most: int = 5, wanted: Sequence[int] | None = None) -> list[int]:
    """Return the numbers of updates that a table shows.

    Args:
        table: The rows.
        most: With more than these, so many of them are shown, evenly spread with both ends.
        wanted: Shows these instead, where they were measured.
    """
    counts = sorted({count for one in table for count in one.scores})
    if wanted:
        return [count for count in counts if count in wanted]
    if len(counts) <= most:
        return counts
    places = sorted({round(place * (len(counts) - 1) / (most - 1)) for place in range(most)})
    return [counts[place] for place in places]


def fidelity_name(table: Sequence[Row]) -> str | None:
    """Return the name of the fidelity score, ``None`` when no teacher has one."""
    names = list(dict.fromkeys(one.fidelity[0] for one in table if one.fidelity))
    return " / ".join(names) or None


def percent(score: Score | None) -> str:
    """Write ``81.2 ± 1.0``, ``–`` for what was not measured."""
    if score is None:
        return "–"
    return f"{100 * score.mean:.1f} ± {100 * score.std:.1f}" if score.runs != 1 else f"{100 * score.mean:.1f}"


def image_count(images: int | None) -> str:
    """Write a number of images; a generator without a stored pool makes fresh ones."""
    return "fresh" if images is None else f"{images:,}"


def byte_size(count: int | None) -> str:
    """Write a number of bytes in decimal units."""
    if count is None:
        return "–"
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Write seconds with as many digits as matter."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}"


def number(value: float) -> str:
    """Write a fidelity score with three significant digits or all of its whole ones; rounding noise is 0."""
    if abs(value) < 1e-9:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
