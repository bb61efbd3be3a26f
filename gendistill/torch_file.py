"""Opening what ``torch.save`` wrote, whoever wrote it: nothing in it is run, and its size accounts for its costs.

Before torch reads a file its parts are looked at: a zip archive's entries lie apart and unpack to no more than they
may, and its pickle builds no more. After that every tensor is held against the memory that the file gave it: one that
repeats a number by a stride of 0 is as large as what is made of it.
"""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from gendistill import budget
from gendistill.errors import UserError
from gendistill.pickle_scan import DEEPEST, Bomb, scan
from gendistill.regular import regular

VALUE = 64
"""Bytes that a value of Python takes, about."""
LEGACY = 5
"""Pickles at the beginning of a file of the time before zip archives: magic number, protocol, system, content, keys."""
END = b"PK\x05\x06"
DAMAGED = (
    *(pickle.UnpicklingError, OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, AssertionError, struct.error, zipfile.BadZipFile),
)
"""What pickle and torch raise at files that are cut off, changed, or hold what is not read."""
TOO_LARGE = "give a file that its own code saved"


def load(path: str | Path, allowed: Sequence[Any] = (), **options: Any) -> Any:
    """Read a ``torch.save`` file of dense tensors, containers and plain values on the CPU.

    Args:
        path: The file.
        allowed: What ``torch.serialization.safe_globals`` takes beyond torch's own.
        options: Further ones of ``torch.load``, such as ``mmap``.

    Returns:
        What it holds.

    Raises:
        UserError: It is no regular file, expands to more than a file of its size may, or holds tensors that are not
            dense.
        Exception: One of :data:`DAMAGED`: it is missing, damaged, or holds what is not read.
    """
    path = regular(path)
    size = path.stat().st_size
    stored = _look(path, size)
    try:
        with torch.serialization.safe_globals(list(allowed)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols, which are read or refused below
            content = torch.load(path, map_location="cpu", weights_only=True, **options)
    except MemoryError as error:
        raise UserError(f"{budget.quoted(path)} states sizes that no memory holds; {TOO_LARGE}") from error
    _weigh(content, path, size, stored)
    return content


def _look(path: Path, size: int) -> int:
    """Look at a file's parts and return the bytes that its tensors may lie in."""
    most = budget.allowance(size) // VALUE
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _look_into_archive(file, path, size, most)
            file.seek(0)
            for _ in range(LEGACY):
                scan(file, most)
    except Bomb as error:
        raise UserError(f"{budget.quoted(path)} {error}; {TOO_LARGE}") from error
    except MemoryError as error:  # a length that no file has
        raise ValueError("a value is longer than the file") from error
    except RecursionError as error:
        raise UserError(f"{budget.quoted(path)} is nested too deep; {TOO_LARGE}") from error
    return size


def _look_into_archive(file: IO[bytes], path: Path, size: int, most: int) -> int:
    file.seek(-min(size, 22), io.SEEK_END)
    if not (tail := file.read()).startswith(END) or tail[-2:] != b"\0\0":
        # Two readers could find two lists of entries in it.
        raise UserError(f"{budget.quoted(path)} goes on behind its end, as no file of torch.save does; {TOO_LARGE}")
    with zipfile.ZipFile(file) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        ends = [entry.header_offset + entry.compress_size for entry in entries]
        if any(end > after.header_offset for end, after in zip(ends, entries[1:], strict=False)):
            raise UserError(f"{budget.quoted(path)} has entries that lie one over the other; {TOO_LARGE}")
        unpacked = sum(entry.file_size for entry in entries)
        budget.check(unpacked, size, budget.quoted(path))
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as packed:
                    scan(io.BytesIO(packed.read(entry.file_size)), most)
    return unpacked


def _weigh(content: Any, path: Path, size: int, stored: int) -> None:
    """Refuse content that takes more than the file may, with every tensor and container counted where it is named."""
    weights: dict[int, int] = {}
    open_now: set[int] = set()
    storages: dict[int, int] = {}
    begun: list[tuple[Any, bool]] = [(content, False)]
    while begun:
        value, done = begun.pop()
        key, parts = id(value), _parts(value)
        if done:
            open_now.discard(key)
            weights[key] = VALUE + sum(weights[id(part)] for part in parts)
        elif key in open_now:
            raise UserError(f"{budget.quoted(path)} holds a value that holds itself; {TOO_LARGE}")
        elif key not in weights and isinstance(value, Tensor):
            weights[key] = _bytes_of(value, path, storages)
        elif key not in weights and parts:
            if len(open_now) > DEEPEST:
                raise UserError(f"{budget.quoted(path)} holds values nested more than {DEEPEST} deep; {TOO_LARGE}")
            open_now.add(key)
            begun.append((value, True))
            begun.extend((part, False) for part in parts)
        elif key not in weights:
            weights[key] = VALUE
    budget.check(weights[id(content)], size, budget.quoted(path))
    if sum(storages.values()) > stored:
        raise UserError(
            f"{budget.quoted(path)} has tensors of {budget.words(sum(storages.values()))} and only "
            f"{budget.words(stored)} in it; it is cut off or wrong, {TOO_LARGE}"
        )


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def _bytes_of(tensor: Tensor, path: Path, storages: dict[int, int]) -> int:
    """Return the bytes that a tensor has when it is copied, and note the memory that it looks into."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
        raise UserError(
            f"{budget.quoted(path)} holds a tensor that is sparse, quantised, nested or without values; save dense "
            "ones (tensor.to_dense(), tensor.dequantize())"
        )
    storage = tensor.untyped_storage()
    # Bounded by what the file has, not by what is asked for: a view of 10 numbers may look into a storage of millions.
    storages[storage.data_ptr()] = storage.nbytes()
    return VALUE + tensor.numel() * tensor.element_size()
