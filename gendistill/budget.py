"""What a file may expand to in memory, and what this machine has; asked before anything is made.

A kilobyte can state that it stands for a terabyte: by a shape, by a packed stream, by references to one value many
times. So a file may take :data:`MULTIPLE` times its own size and :data:`CONSTANT` bytes beside, which sound files of
data sets and teachers do not come near. Who trusts a file of which more comes raises the bound: ``--max-expansion-mb``
of every command, or the environment variable :data:`VARIABLE`.
"""

from __future__ import annotations

import math
import os
import re
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gendistill.errors import UserError
from gendistill.plain import readable

MULTIPLE = 64
"""Deflate packs text and pictures 3 to 20 times; a page in one colour more, which the constant is for."""
CONSTANT = 256 * 10**6
MB = 10**6
OPTION, VARIABLE = "--max-expansion-mb", "GENDISTILL_MAX_EXPANSION_MB"
CGROUP = Path("/sys/fs/cgroup")
PART = "use a part of it, or a machine with more memory"
LITTLE = 16 * 10**6
"""Bytes of which nobody asks whether they are free, for asking takes longer than reading a small picture."""
UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))

Row = TypeVar("Row", list[str], Mapping[str, Any], dict[str | Any, str | Any])


def allowance(size: int) -> int:
    """Return the bytes that a file of a size may take in memory.

    Args:
        size: Of the file, in bytes.

    Raises:
        UserError: :data:`VARIABLE` holds no number.
    """
    return max(MULTIPLE * size + CONSTANT, MB * _megabytes(os.environ.get(VARIABLE, "0"), VARIABLE))


def check(needed: int, size: int, what: str) -> None:
    """Refuse what a file would expand to.

    Args:
        needed: Bytes in memory.
        size: Bytes of the file.
        what: What would take them, as the sentence begins: the file in quotes, or a part of it.

    Raises:
        UserError: It is more than the file's allowance, or than this machine has free.
    """
    if needed > allowance(size):
        raise _refusal(f"{what} would take {words(needed)} of memory, more than the", needed, size)
    check_memory(needed, what, PART)


def _refusal(begin: str, needed: int, size: int) -> UserError:
    return UserError(
        f"{begin} {words(allowance(size))} that a file of {words(size)} may take ({MULTIPLE} times its "
        f"size and {words(CONSTANT)}); if you trust it, allow it with {OPTION} {math.ceil(needed / MB)} (or the "
        f"environment variable {VARIABLE})"
    )


class Meter:
    """Counts what comes out of a file while it is read, where that cannot be known before.

    Args:
        what: What the sentence begins with.
        size: Bytes of the file or files; more may be added as they are opened.
    """

    def __init__(self, what: str, size: int = 0) -> None:
        self.what, self.size, self.taken = what, size, 0

    def add(self, taken: int, size: int = 0, expected: int = 0) -> None:
        """Count bytes that came out, and those of a file that they came out of.

        Args:
            taken: Bytes in memory.
            size: Bytes of a further file.
            expected: All that will be taken, where that is known; the refusal then names it.

        Raises:
            UserError: The allowance is used up.
        """
        self.taken, self.size = self.taken + taken, self.size + size
        if self.taken > allowance(self.size):
            if expected > self.taken:
                begin = f"{self.what} would take {words(expected)} of memory, more than the"
                raise _refusal(begin, expected, self.size)
            raise _refusal(f"{self.what} would take more memory than the", 2 * self.taken, self.size)


PIECE = 2**20
CELL, TEXT = 64, 4
"""Bytes of a table's cell beside its letters, and at most of a letter, as a value of Python."""


def counted_rows(rows: Iterable[Row], meter: Meter) -> Iterator[Row]:
    """Yield a table's rows and count their cells; a row may be filled up to the columns of the heading.

    Args:
        rows: Lists of cells, or mappings of columns to cells, as ``csv`` gives them.
        meter: Of the table's file.

    Raises:
        UserError: They take more memory than the file may.
    """
    for row in rows:
        cells = row.values() if isinstance(row, Mapping) else row
        meter.add(sum(CELL + (TEXT * len(cell) if isinstance(cell, str) else 0) for cell in cells))
        yield row


def unpacked(path: Path, opener: Callable[..., Any]) -> bytes:
    """Return what a packed file holds, and no more of it than it may hold.

    Args:
        path: The file.
        opener: ``gzip.open``, ``bz2.open`` or their like; ``open`` for a file that is not packed.

    Raises:
        UserError: It holds more.
        Exception: What the opener raises at a damaged file.
    """
    size = size_of(path)
    check_file(path)
    limit = min(allowance(size), free_memory())
    parts, taken = [], 0
    with opener(path, "rb") as file:
        # Piece by piece: asked for all at once, some readers make room for the limit first.
        while part := file.read(PIECE):
            parts.append(part)
            taken += len(part)
            if taken > limit:
                check_memory(2 * taken, quoted(path), PART)
                raise _refusal(f"{quoted(path)} unpacks to more than the", 2 * taken, size)
    return b"".join(parts)


def check_file(path: Path, times: int = 1) -> None:
    """Refuse a file that is larger than what is free; a file with holes is of any size on a small disk.

    Args:
        path: The file.
        times: What it takes in memory, as a multiple of its size.

    Raises:
        UserError: There is not the memory.
    """
    check_memory(times * size_of(path), quoted(path), PART)


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def quoted(path: str | Path) -> str:
    """Return a path as the beginning of a sentence."""
    return f"'{readable(str(path))}'"


def check_memory(needed: int, what: str, advice: str) -> None:
    """Refuse what this machine has no memory for, before it is asked for it.

    Args:
        needed: Bytes.
        what: What would take them: ``1,200 pictures of 1000x1000 pixels``.
        advice: What to do: ``give a smaller --image-size``.

    Raises:
        UserError: It is more than is free.
    """
    if needed <= LITTLE:
        return
    free = free_memory()
    if needed > free:
        raise UserError(f"{what} would take {words(needed)} of memory, {words(free)} are free; {advice}")


def free_memory() -> int:
    """Return the bytes that this process can still have: of the machine, of its group and by its own limit."""
    return max(0, min(_machine(), _group(), _limit()))


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 2**62


def _group() -> int:
    """Return what the control group leaves, as in a container."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit == "max":
            return 2**62
        counted = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used = int((CGROUP / "memory.current").read_text()) - int(counted.get("inactive_file", 0))
        return int(limit) - used
    except (OSError, ValueError):
        return 2**62


def _limit() -> int:
    """Return what ``ulimit -v`` leaves."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return 2**62
    try:
        return limit - os.sysconf("SC_PAGE_SIZE") * int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return limit


NO_MEMORY = re.compile(r"can't allocate memory|out of memory|tried to allocate|Unable to allocate", re.IGNORECASE)
SHORT = 2**28
"""Bytes free below which an operation that cannot be set up has most likely no room."""
NO_ROOM = re.compile(r"could not create a (primitive|memory object)")
"""What oneDNN says of memory that it does not get, and of operations that it does not have."""
TRIED = re.compile(r"(?:allocate|Tried to allocate) ([\d.]+ (?:bytes|[KMGTP]i?B))")


def out_of_memory(error: BaseException) -> str | None:
    """Return the sentence for an error that says that memory is used up, on this machine or its accelerator.

    Args:
        error: Python's ``MemoryError``, or what torch and NumPy raise in its place.

    Returns:
        The sentence; None: the error says something else.
    """
    text = str(error)
    said = NO_MEMORY.search(text) or (NO_ROOM.search(text) and free_memory() < SHORT)
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and said):
        return None
    found = TRIED.search(text)
    asked = ""
    if found:
        number = found[1].removesuffix(" bytes")
        asked = f" for {words(int(number)) if number.isdecimal() else number}"
    return (
        f"there is not enough memory{asked} ({words(free_memory())} are free on this machine); ask for smaller "
        "batches, images or networks, or for fewer of them"
    )


def words(count: int) -> str:
    """Return bytes in words: ``256 GB``, ``1.2 kB``."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:,.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return f"{count} bytes"


@contextmanager
def taken_from(arguments: MutableSequence[str]) -> Iterator[None]:
    """Take ``--max-expansion-mb N`` out of a command's words and let it hold inside, in processes begun there, too.

    Args:
        arguments: The words, which are changed.

    Raises:
        UserError: Its value is missing or no number.
    """
    before = os.environ.get(VARIABLE)
    try:
        for place in reversed(range(len(arguments))):
            name, equals, value = arguments[place].partition("=")
            if name != OPTION:
                continue
            if not equals:
                value = arguments[place + 1] if place + 1 < len(arguments) else ""
            _megabytes(value, OPTION)
            # Of several the last one counts, as of every option.
            if os.environ.get(VARIABLE) == before:
                os.environ[VARIABLE] = value
            del arguments[place : place + (1 if equals else 2)]
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def _megabytes(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise UserError(f"{name} is '{text}'; give a whole number of megabytes, such as 2000")
    return int(text)
