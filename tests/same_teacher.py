"""Whether two teachers' files are the same but for what making them took, which no two runs have in common."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kills import teacher_content


def alike(one: Path, other: Path) -> bool:
    """Return whether all tensors are equal to the bit, and all metadata but the making and the checksum."""
    return teacher_content(one) == teacher_content(other)
