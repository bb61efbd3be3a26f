"""Opening Parquet files of strangers: rows and pages are counted before they are unpacked, and read a few at a time.

A page of zeros packs ten thousand times and more, and a dictionary lets a million rows name one large value. What a
file's summary says of its sizes is the writer's word; the head of each page is what a reader makes room for, so those
are looked at. They are structs of Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    try:
        file = pyarrow.parquet.ParquetFile(path, memory_map=False)
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise damaged(path, error) from error
    rows = file.metadata.num_rows
    try:
        budget.check(ROW_BYTES * max(0, rows), size, f"{budget.quoted(path)} of {rows:,} rows")
    except UserError:
        file.close()
        raise
    return file


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
            largest = _largest_page(path, file.metadata, column, size)
            count = max(1, min(ROWS, AT_A_TIME // max(1, largest)))
            meter = budget.Meter(f"column '{readable(column)}' of {budget.quoted(path)}", size)
            for batch in file.iter_batches(batch_size=count, columns=[column]):
                meter.add(batch.nbytes)
                yield from batch.column(0).to_pylist()
        except (OSError, ValueError, OverflowError, MemoryError, pyarrow.ArrowException) as error:
            raise damaged(path, error) from error


def _largest_page(path: Path, metadata: Any, column: str, size: int) -> int:
    """Return the unpacked size of a column's largest page, all of which may take what the file may."""
    largest, meter = 0, budget.Meter(f"column '{readable(column)}' of {budget.quoted(path)}", size)
    with path.open("rb") as file:
        for group in range(metadata.num_row_groups):
            row_group = metadata.row_group(group)
            for place in range(row_group.num_columns):
                chunk = row_group.column(place)
                if chunk.path_in_schema.split(".", 1)[0] != column and chunk.path_in_schema != column:
                    continue
                for unpacked in _pages(file, chunk, size):
                    meter.add(unpacked)
                    largest = max(largest, unpacked)
    return largest


def _pages(file: IO[bytes], chunk: Any, size: int) -> Iterator[int]:
    """Yield the unpacked size of each page of a column in a group of rows."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    end = min(size, start + chunk.total_compressed_size)
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
            return struct.place, int(found[UNPACKED]), int(found[PACKED])
        except KeyError as error:
            raise ValueError("a page without its size") from error
        except IndexError as error:
            if longest >= LONGEST_HEAD or len(struct.content) < longest:
                raise ValueError("a page is cut off") from error
            longest = LONGEST_HEAD


class _Struct:
    """Reads one struct of Thrift's compact protocol; what is in nested ones is passed over.

    Source:
        Apache Thrift, "Thrift Compact protocol encoding".
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def fields(self, depth: int = 0) -> dict[int, int]:
        """Return the whole numbers among the fields, by number."""
        found: dict[int, int] = {}
        number = 0
        while (head := self._byte()) != 0:
            kind, step = head & 0x0F, head >> 4
            number = number + step if step else _unzigzag(self._varint())
            if kind in INTEGERS:
                found[number] = _unzigzag(self._varint())
            elif kind not in BOOLEANS:
                self._pass_over(kind, depth)
        return found

    def _pass_over(self, kind: int, depth: int) -> None:
        if depth > DEEPEST:
            raise ValueError("a page's head is nested too deep")
        if kind in (*BOOLEANS, BYTE):
            self._skip(1)
        elif kind in INTEGERS:
            self._varint()
        elif kind == DOUBLE:
            self._skip(8)
        elif kind == BINARY:
            self._skip(self._varint())
        elif kind == STRUCT:
            self.fields(depth + 1)
        elif kind in LISTS:
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            self._several([head & 0x0F], count, depth)
        elif kind == MAP:
            if count := self._varint():
                kinds = self._byte()
                self._several([kinds >> 4, kinds & 0x0F], count, depth)
        else:
            raise ValueError("a page's head holds an unknown type")

    def _several(self, kinds: Sequence[int], count: int, depth: int) -> None:
        for _ in range(count):
            for kind in kinds:
                self._pass_over(kind, depth + 1)

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self.content):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a page's head holds a number without end")


def _unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
