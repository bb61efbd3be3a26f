"""What making a teacher took, as the run that made it writes into its file, and as a stranger's file may have it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from gendistill.words import byte_size, counted

KEY = "making"
"""The entry of a teacher's metadata."""
COUNTS = ("steps", "processes", "peak_memory", "peak_gpu_memory")
"""Entries that are whole numbers: of steps, of processes, of bytes."""
SECONDS = ("cpu_seconds", "gpu_seconds", "seconds")
LARGEST = 2**53
"""No entry is larger: whole numbers up to here are the same in JSON everywhere."""

T = TypeVar("T")


class Noting(Protocol):
    """What is asked of a teacher."""

    def noted(self, key: str, kind: type[T]) -> T | None:
        """See :meth:`gendistill.teacher.base.Teacher.noted`."""


def making(teacher: Noting) -> dict[str, float | int] | None:
    """Return what a teacher's file says of its making; None where it says nothing.

    Nobody vouches for it: an entry that is no number of its kind, or out of all bounds, is left out, and so is every
    other one. What a teacher stores is not read here but counted on its tensors
    (:meth:`gendistill.teacher.base.Teacher.budget`).

    Args:
        teacher: The teacher.

    Returns:
        Those that are known of ``steps`` (of training), ``cpu_seconds`` (of all threads and processes), ``gpu_seconds``
        (of the clock, times the GPUs), ``seconds`` (of the clock), ``processes``, ``peak_memory`` and
        ``peak_gpu_memory`` (bytes, of the process that took most).
    """
    entries = teacher.noted(KEY, dict)
    if entries is None:
        return None
    found = {name: entries[name] for name in COUNTS if is_count(entries.get(name))}
    return (found | {name: float(entries[name]) for name in SECONDS if is_seconds(entries.get(name))}) or None


def words(spent: Mapping[str, float | int]) -> list[str]:
    """Return what :func:`making` found in words: ``1,000 steps``, ``12.5 CPU seconds``, ``peak memory 820 MB``."""
    found = [counted(int(spent["steps"]), "step")] if "steps" in spent else []
    for name, what in (("cpu_seconds", "CPU seconds"), ("gpu_seconds", "GPU seconds")):
        if name in spent:
            found.append(f"{spent[name]:,.1f} {what}" if spent[name] < 100 else f"{spent[name]:,.0f} {what}")
    for name, what in (("peak_memory", "peak memory"), ("peak_gpu_memory", "peak GPU memory")):
        if name in spent:
            found.append(f"{what} {byte_size(int(spent[name]))}")
    return found + ([counted(int(spent["processes"]), "process", "processes")] if spent.get("processes", 1) > 1 else [])


def is_count(value: Any) -> bool:
    """Return whether a value may be a number of steps, processes or bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def is_seconds(value: Any) -> bool:
    """Return whether a value may be a number of seconds."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= LARGEST and math.isfinite(value)


def entry(stored: Mapping[str, Any], spent: Mapping[str, Any], curriculum: int | None) -> dict[str, Any]:
    """Return what goes into a teacher's file.

    Args:
        stored: The teacher's :meth:`~gendistill.teacher.base.Teacher.budget`.
        spent: What :func:`making` reads.
        curriculum: Learner updates for which rates were learned; None: none were.
    """
    kept = ("images", "distinct_images", "bytes", "image_bytes", "label_bytes", "labeller_bytes")
    return {
        **{name: stored[name] for name in kept},
        "learner_updates": curriculum,
        **{name: value for name, value in spent.items() if value is not None},
    }
