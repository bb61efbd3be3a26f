"""Words of sentences that are made from values: numbers with their nouns, and lists."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 seed`` or ``1,200 seeds``.

    Args:
        number: How many, from 0.
        noun: What one of them is called.
        plural: What several are called; None: the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def several(numbers: Sequence[int], noun: str, plural: str | None = None) -> str:
    """Return ``5 seeds``, or ``3 to 5 seeds`` where the numbers differ.

    Args:
        numbers: At least one number.
        noun: What one of them is called.
        plural: What several are called; None: the noun with an s.
    """
    low, high = min(numbers), max(numbers)
    return counted(high, noun, plural) if low == high else f"{low:,} to {counted(high, noun, plural)}"


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


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
