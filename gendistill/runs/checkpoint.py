"""The saved state of a run: one file, written completely or not at all, the last two kept."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import StorageError, UserError
from gendistill.files import atomic_write, storage_sentence, sync_directory
from gendistill.runs.directory import INCOMING, RunDirectory

FORMAT = "gendistill-state"
VERSION = 1


def save_state(directory: RunDirectory, state: dict[str, Any]) -> None:
    """Write the state of a run; what was the latest becomes the previous one.

    Args:
        directory: The run's directory.
        state: Plain values and tensors only, so that it can be read back without running code.

    Raises:
        StorageError: The file cannot be written; both older states are intact.
    """
    content = {"format": FORMAT, "version": VERSION, **state}
    require_plain(content)
    # To memory first: torch turns a full disk into an error that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    incoming = directory.path / INCOMING
    try:
        atomic_write(incoming, lambda file: file.write(buffer.getbuffer()))
    except StorageError as error:
        reason = error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error))
        raise StorageError(storage_sentence(directory.state, reason)) from error
    # Killed between the two renames, the directory has a previous state only; load_state knows.
    try:
        if directory.state.exists():
            os.replace(directory.state, directory.previous_state)
        os.replace(incoming, directory.state)
        sync_directory(directory.path)
    except OSError as error:
        raise StorageError(storage_sentence(directory.state, error)) from error


def load_state(directory: RunDirectory, device: torch.device, *, mapped: bool = False) -> dict[str, Any] | None:
    """Return the latest saved state, ``None`` when the run has none.

    Args:
        directory: The run's directory.
        device: Where tensors that were on a GPU are put; the others stay on the CPU.
        mapped: Leave tensors in the file until they are looked at, for a quick look at the plain values.

    Raises:
        UserError: The file is damaged, foreign, or of a version that this program cannot read.
    """
    if directory.state.exists():
        return read_state(directory.state, device, fallback=directory.previous_state, mapped=mapped)
    if directory.previous_state.exists():
        return read_state(directory.previous_state, device, mapped=mapped)
    return None


def read_state(
    path: Path, device: torch.device, fallback: Path | None = None, *, mapped: bool = False
) -> dict[str, Any]:
    """Read one state file without running code from it.

    Args:
        path: The file.
        device: Where tensors that were on a GPU are put; the others stay on the CPU.
        fallback: An older state that the error may point to.
        mapped: See :func:`load_state`.

    Raises:
        UserError: See :func:`load_state`.
    """
    if fallback is not None and fallback.exists():
        way_out = f"rename '{fallback.name}' beside it to '{path.name}' to continue from the save before"
    else:
        way_out = f"delete it and start again (there is no '{(fallback or path).name}' to fall back on)"
        if fallback is None:
            way_out = "delete it and start again"
    # Tensors that live on the CPU beside a GPU, as an optimiser's step counts do, must not be moved there.
    elsewhere: Any = "cpu" if device.type == "cpu" else {f"cuda:{index}": str(device) for index in range(64)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign files, which the errors below are about
            content = torch.load(path, map_location=elsewhere, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise UserError(f"'{path}' is not a state of this program, or it is damaged; {way_out}") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"'{path}' is damaged or cut short; {way_out}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"'{path}' is not a state of this program; {way_out}")
    if content.get("version") != VERSION:
        raise UserError(
            f"'{path}' has format version {content.get('version')!r}, this program reads version {VERSION}; "
            f"use the version that wrote it, or {way_out}"
        )
    return content


def require_plain(value: Any, where: str = "state") -> None:
    """Refuse values that could not be read back with ``weights_only=True``: found when saving, not when resuming.

    Raises:
        TypeError: A value is neither a tensor nor a plain value; the message says where.
    """
    if isinstance(value, Tensor) or value is None or type(value) in (bool, int, float, complex, str, bytes, torch.Size):
        return
    if type(value) in (torch.dtype, torch.device):
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            require_plain(key, f"{where}, a key of it")
            require_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple, set):
        for index, item in enumerate(value):
            require_plain(item, f"{where}[{index}]")
    else:
        raise TypeError(
            f"{where} is a {type(value).__qualname__}; a saved state may hold tensors, numbers, strings, lists, tuples "
            "and dicts only"
        )
