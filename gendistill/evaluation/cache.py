"""Results that take long and depend only on the real data: where they are kept and how they are told apart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.finite import check_finite
from gendistill.regular import regular

VARIABLE = "GENDISTILL_CACHE"


def cache_folder(kind: str) -> Path:
    """Return ``$GENDISTILL_CACHE/<kind>`` or, where the variable is not set, ``~/.cache/gendistill/<kind>``."""
    root = os.environ.get(VARIABLE)
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "gendistill") / kind


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whole or not at all.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, dict(metadata))
    atomic_write(path, lambda file: file.write(content))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (CPU) and metadata of a safetensors file.

    Raises:
        UserError: The file is missing, damaged or not safetensors, or holds values that are NaN or infinite.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"'{path}' is not a readable safetensors file ({error}); delete it to have it made anew") from (
            error
        )
    for name, tensor in tensors.items():
        check_finite(f"{path}: {name}", tensor, "delete the file to have it made anew")
    return tensors, dict(metadata or {})
