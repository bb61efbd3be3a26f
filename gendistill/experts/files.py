"""One file an expert: every snapshot of its parameters, written and read one at a time.

Tensors are the parameters by name, each (S, *shape) with the first weights at 0. The metadata hold the expert's
identity, its number, its accuracy on validation images and a checksum of each snapshot.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import gendistill
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.finite import check_finite
from gendistill.json_file import (
    Each,
    Is,
    JsonError,
    Keys,
    check,
    fraction,
    mapping,
    maybe,
    parse_json,
    text,
    whole,
)
from gendistill.regular import regular

KEY = "gendistill_expert"
FORMAT_VERSION = 1
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
VERSION = Is(whole, "a number")
HEADER = Keys(
    required={
        "format_version": VERSION,
        "identity": Is(mapping, "an object"),
        "number": Is(whole, "the number of an expert"),
        "accuracy": Is(maybe(fraction), "a fraction, or null"),
        "checksums": Each(Is(text, "a checksum"), at_least=1),
    }
)
UNFIT = (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError, RecursionError)


def expert_path(folder: Path, number: int) -> Path:
    """Return the file of an expert."""
    return folder / f"expert-{number:04d}.safetensors"


class Rows(Protocol):
    """One parameter in S snapshots: a tensor (S, *shape), or what reads them one at a time."""

    def __len__(self) -> int:
        """Return S."""

    def __getitem__(self, at: int, /) -> Tensor:
        """Return the parameter (*shape) at a snapshot."""


def write_expert(
    path: Path, trajectory: Mapping[str, Rows], known: Mapping[str, Any], number: int, accuracy: float | None
) -> None:
    """Write an expert's file whole or not at all; one snapshot at a time is in memory.

    Args:
        path: Where.
        trajectory: Parameters by name, each (S, *shape).
        known: Its :func:`gendistill.experts.recipe.identity`.
        number: Its number.
        accuracy: Of its last snapshot on validation images, a fraction; None: there are none.

    Raises:
        StorageError: It cannot be written.
    """
    count = len(next(iter(trajectory.values())))
    header = {
        "format_version": FORMAT_VERSION,
        "software_version": gendistill.__version__,
        "identity": dict(known),
        "number": number,
        "accuracy": accuracy,
        "checksums": [_checksum({name: value[at] for name, value in trajectory.items()}) for at in range(count)],
    }
    metadata = {KEY: json.dumps(header, sort_keys=True)}
    first = {name: trajectory[name][0] for name in sorted(trajectory)}
    begin = _begin({name: (value.dtype, (count, *value.shape)) for name, value in first.items()}, metadata)

    def write(file: BinaryIO) -> None:
        file.write(begin)
        for name in first:
            for at in range(count):
                file.write(_bytes(trajectory[name][at]))

    atomic_write(path, write)


def _begin(tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """Return what a safetensors file has before its values: the length of its header, and the header."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def read_header(path: Path) -> dict[str, Any]:
    """Return what a file says of its expert, with ``shapes``: name -> shape of one snapshot's parameter.

    Raises:
        UserError: The file is missing, damaged, not an expert or of another version.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            said = (file.metadata() or {}).get(KEY)
            if said is None:
                raise UserError(
                    f"'{path}' is not an expert: it has no '{KEY}' metadata; choose another folder for experts"
                )
            header: dict[str, Any] = parse_json(said, f"'{KEY}'", Keys(required={"format_version": VERSION}))
            if header["format_version"] != FORMAT_VERSION:
                raise UserError(
                    f"'{path}' has format version {header['format_version']}, this program reads version "
                    f"{FORMAT_VERSION}; delete it to have the expert trained anew"
                )
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            if {shape[0] for shape in shapes.values()} != {len(header["checksums"])}:
                raise ValueError("snapshots and checksums are not equally many")
            check(header, HEADER, f"'{KEY}'")
    except (JsonError, *UNFIT) as error:
        raise damaged(path, error) from error
    return header | {"shapes": {name: shape[1:] for name, shape in shapes.items()}}


def read_snapshot(path: Path, at: int) -> dict[str, Tensor]:
    """Return an expert's parameters by name at one snapshot; the others are not read.

    Args:
        path: The expert's file.
        at: Number of the snapshot, 0 for the first weights.

    Raises:
        UserError: The file is missing or damaged, or has no such snapshot.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            checksums = parse_json((file.metadata() or {}).get(KEY, ""), f"'{KEY}'", HEADER)["checksums"]
            if not 0 <= at < len(checksums):
                raise UserError(f"'{path}' has snapshots 0 to {len(checksums) - 1}, not {at}; train experts for longer")
            # Cloned, so that a file that changes later cannot change them.
            found: dict[str, Tensor] = {name: file.get_slice(name)[at].clone() for name in file.keys()}  # noqa: SIM118
    except (JsonError, *UNFIT) as error:
        raise damaged(path, error) from error
    if _checksum(found) != checksums[at]:
        raise damaged(path, ValueError(f"snapshot {at} does not match its checksum"))
    for name, value in found.items():
        check_finite(f"{path}: {name}", value, "delete the file to have the expert trained anew")
    return found


def damaged(path: Path, error: BaseException) -> UserError:
    """Return what is said of an expert's file that cannot be read."""
    if not path.exists():
        return UserError(f"there is no expert '{path}'; start the run anew to have it trained")
    reason = (str(error) or type(error).__name__).split("\n", 1)[0][:200]
    return UserError(f"'{path}' is damaged or no expert ({reason}); delete it to have the expert trained anew")


def _checksum(parameters: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(parameters):
        digest.update(name.encode())
        digest.update(_bytes(parameters[name]))
    return digest.hexdigest()[:16]
