"""Results that take long and depend only on the real data: where they are kept and how they are told apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.finite import check_finite

VARIABLE = "GENDISTILL_CACHE"


def cache_folder(kind: str) -> Path:
    """Return ``$GENDISTILL_CACHE/<kind>`` or, where the variable is not set, ``~/.cache/gendistill/<kind>``."""
    root = os.environ.get(VARIABLE)
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "gendistill") / kind


def tensors_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits that differ when any name, shape, type or value of the tensors differs."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def split_fingerprint(split: Split) -> str:
    """Return 16 hexadecimal digits that name the images and labels of a split."""
    return tensors_fingerprint({"images": split.images, "labels": split.labels})


def text_fingerprint(text: str) -> str:
    """Return 16 hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        with safe_open(path, framework="pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"'{path}' is not a readable safetensors file ({error}); delete it to have it made anew") from (
            error
        )
    for name, tensor in tensors.items():
        check_finite(f"{path}: {name}", tensor, "delete the file to have it made anew")
    return tensors, dict(metadata or {})
