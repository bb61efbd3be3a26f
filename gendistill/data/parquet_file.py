"""Opening Parquet files of strangers: rows and pages are counted before they are unpacked, and read a few at a time.

A page of zeros packs ten thousand times and more, and a dictionary lets a million rows name one large value. What a
file's summary says of its sizes is the writer's word; the head of each page is what a reader makes room for, so those
are looked at. Summary and heads are structs of Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gendistill import budget
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.regular import regular

ROWS = 64
"""Rows that are in memory at a time."""
AT_A_TIME = 64 * 10**6
"""Bytes that they may take, before fewer rows are read at a time."""
ROW_BYTES = 100
"""What a row takes at the least, as a value of Python in a list."""
HEAD = 16 * 2**10
"""Bytes in which the head of a page is looked for first; it may hold the smallest and the largest value."""
LONGEST_HEAD = 16 * 2**20
BOOLEANS, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, MAP, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
"""Types of Thrift's compact protocol."""
DEEPEST = 16
UNPACKED, PACKED = 2, 3
"""Fields of a page's head: its sizes in bytes, unpacked and in the file."""
ROWS_OF_FILE, ROW_GROUPS, CHUNKS, ABOUT = 3, 4, 1, 3
"""Fields of a file's summary: how many rows and which groups of them; of a group its columns; what is said of one."""
NAMES, PACKED_CHUNK, DATA_AT, DICTIONARY_AT = 3, 7, 9, 11
"""Fields of what is said of a column in a group: the names that lead to it, its size, where it begins."""
MAGIC, FOOT = b"PAR1", 8

Fields = dict[int, Any]


def open_parquet(path: Path) -> Any:
    """Open a Parquet file after counting its rows.

    Raises:
        UserError: pyarrow is missing, the file is damaged or no regular file, or it has more rows than it may.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"reading '{readable(str(path))}' needs pyarrow; install it with: pip install 'gendistill[parquet]'"
        ) from error
    size = budget.size_of(regular(path))
    rows = _whole(_summary(path, size), ROWS_OF_FILE)
    budget.check(ROW_BYTES * max(0, rows), size, f"{budget.quoted(path)} of {rows:,} rows")
    try:
        return pyarrow.parquet.ParquetFile(path, memory_map=False)
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> UserError:
    """Return what is said of a file that cannot be read."""
    reason = " ".join(str(error).split())[:200]
    return UserError(f"'{readable(str(path))}' cannot be read as Parquet ({reason}); fetch or write it again")


def column_values(path: Path, column: str) -> Iterator[Any]:
    """Yield the values of a column, a few in memory at a time.

    Args:
        path: The file.
        column: Its name.

    Raises:
        UserError: There is no such column, the file is damaged, or values take more memory than the file may.
    """
    import pyarrow

    size = budget.size_of(path)
    with open_parquet(path) as file:
        if column not in file.schema_arrow.names:
            raise UserError(f"'{readable(str(path))}' has no column '{column}', which other files have; write it again")
        try:
            largest = _largest_page(path, column, size)
            count = max(1, min(ROWS, AT_A_TIME // max(1, largest)))
            meter = budget.Meter(f"column '{readable(column)}' of {budget.quoted(path)}", size)
            for batch in file.iter_batches(batch_size=count, columns=[column]):
                meter.add(batch.nbytes)
                yield from batch.column(0).to_pylist()
        except (OSError, ValueError, OverflowError, MemoryError, pyarrow.ArrowException) as error:
            raise damaged(path, error) from error


def _summary(path: Path, size: int) -> Fields:
    """Return a file's summary, which stands at its end.

    pyarrow's own view of it lets damaged ones end the process.
    """
    try:
        with path.open("rb") as file:
            file.seek(-min(size, FOOT), os.SEEK_END)
            foot = file.read()
            length = int.from_bytes(foot[:4], "little")
            if foot[4:] != MAGIC or length + FOOT > size:
                raise ValueError("it does not end as such a file does")
            file.seek(size - FOOT - length)
            return _Struct(file.read(length)).fields()
    except FileNotFoundError as error:
        raise UserError(f"there is no file '{readable(str(path))}'; fetch or write it again") from error
    except (OSError, ValueError, LookupError, RecursionError) as error:
        raise damaged(path, error) from error


def _largest_page(path: Path, column: str, size: int) -> int:
    """Return the unpacked size of a column's largest page, all of which may take what the file may."""
    largest, meter = 0, budget.Meter(f"column '{readable(column)}' of {budget.quoted(path)}", size)
    groups = [_struct(group) for group in _list(_summary(path, size), ROW_GROUPS)]
    chunks = [_struct(_struct(chunk).get(ABOUT)) for group in groups for chunk in _list(group, CHUNKS)]
    with path.open("rb") as file:
        for chunk in chunks:
            if _list(chunk, NAMES)[:1] == [column.encode()]:
                for unpacked in _pages(file, chunk, size):
                    meter.add(unpacked)
                    largest = max(largest, unpacked)
    return largest


def _pages(file: IO[bytes], chunk: Fields, size: int) -> Iterator[int]:
    """Yield the unpacked size of each page of a column in a group of rows."""
    start, dictionary = _whole(chunk, DATA_AT), _whole(chunk, DICTIONARY_AT)
    if 0 < dictionary < start:
        start = dictionary
    end = min(size, start + _whole(chunk, PACKED_CHUNK))
    while 0 <= start < end:
        length, unpacked, packed = _page_head(file, start)
        if packed < 0 or unpacked < 0:
            raise ValueError("a page of negative size")
        yield unpacked
        start += length + packed


def _page_head(file: IO[bytes], start: int) -> tuple[int, int, int]:
    """Return the length of a page's head, and the page's sizes unpacked and in the file."""
    longest = HEAD
    while True:
        file.seek(start)
        struct = _Struct(file.read(longest))
        try:
            found = struct.fields()
            return struct.place, _whole(found, UNPACKED), _whole(found, PACKED)
        except IndexError as error:
            if longest >= LONGEST_HEAD or len(struct.content) < longest:
                raise ValueError("a page is cut off") from error
            longest = LONGEST_HEAD


def _whole(fields: Fields, number: int) -> int:
    value = fields.get(number, 0)
    return value if isinstance(value, int) else 0


def _list(fields: Fields, number: int) -> list[Any]:
    value = fields.get(number)
    return value if isinstance(value, list) else []


def _struct(value: Any) -> Fields:
    return value if isinstance(value, dict) else {}


class _Struct:
    """Reads one struct of Thrift's compact protocol.

    Source:
        Apache Thrift, "Thrift Compact protocol encoding".
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def fields(self, depth: int = 0) -> Fields:
        """Return the fields by number.

        Raises:
            IndexError: The content ends before the struct does.
            ValueError: It is no struct.
        """
        found: Fields = {}
        number = 0
        while (head := self._byte()) != 0:
            kind, step = head & 0x0F, head >> 4
            number = number + step if step else _unzigzag(self._varint())
            # Of a field the type says the truth value; in a list it is a byte.
            found[number] = kind == BOOLEANS[0] if kind in BOOLEANS else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError("its summary is nested too deep")
        if kind in (*BOOLEANS, BYTE):
            return self._byte()
        if kind in INTEGERS:
            return _unzigzag(self._varint())
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind == STRUCT:
            return self.fields(depth + 1)
        if kind in LISTS:
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            return [self._value(head & 0x0F, depth + 1) for _ in range(count)]
        if kind == MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 0x0F, depth + 1)) for _ in range(count)]
        raise ValueError("its summary holds an unknown type")

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]  # IndexError at the end

    def _bytes(self, count: int) -> bytes:
        self.place += count
        if self.place > len(self.content):
            raise IndexError("it is cut off")
        return self.content[self.place - count : self.place]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("its summary holds a number without end")


def _unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
