"""Results that take long and depend only on the real data: where they are kept and how they are told apart."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gendistill.data.fingerprint import tensors_fingerprint, text_fingerprint
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.finite import check_finite
from gendistill.notes import note
from gendistill.regular import expanded, regular, require_own

VARIABLE = "GENDISTILL_CACHE"
CHECKSUM = "checksum"
"""The key of the metadata that tells whether all else is as it was written."""


def cache_folder(kind: str) -> Path:
    """Return ``$GENDISTILL_CACHE/<kind>`` or, where the variable is not set, ``~/.cache/gendistill/<kind>``."""
    root = os.environ.get(VARIABLE)
    return (expanded(root) if root else Path.home() / ".cache" / "gendistill") / kind


def is_kept(path: Path) -> bool:
    """Return whether a file is kept at a path.

    Raises:
        PlaceError: A folder, a pipe or the like lies there, so that nothing could be kept.
    """
    require_own(path)
    return path.is_file()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all, with a checksum.

    Args:
        path: Where.
        tensors: By name.
        metadata: Text by key.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    there = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = save(there, {**metadata, CHECKSUM: _checksum(there, metadata)})
    atomic_write(path, lambda file: file.write(content))


def read_tensors(path: Path, *, finite: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (CPU) and metadata of a safetensors file.

    Args:
        path: The file.
        finite: Whether NaN and infinity are damage; learners may have diverged.

    Raises:
        UserError: The file is missing, damaged or not safetensors, or holds values that are NaN or infinite. A file of
            an earlier version has no checksum and is read as it is.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"'{path}' is not a readable safetensors file ({error}); delete it to have it made anew") from (
            error
        )
    noted = metadata.pop(CHECKSUM, None)
    if noted is not None and noted != _checksum(tensors, metadata):
        raise UserError(f"'{path}' is damaged: it does not match its checksum; delete it to have it made anew")
    for name, tensor in tensors.items() if finite else ():
        check_finite(f"{path}: {name}", tensor, "delete the file to have it made anew")
    return tensors, metadata


def made_anew(error: UserError) -> None:
    """Say of what is kept that it cannot be relied on and is made anew."""
    note(f"{str(error).partition(';')[0]}; it is made anew")


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    said = json.dumps(dict(metadata), sort_keys=True)
    return text_fingerprint(f"{said} {tensors_fingerprint(tensors)}")
