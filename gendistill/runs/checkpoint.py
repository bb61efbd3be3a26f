"""The saved state of a run: one file, written completely or not at all, the last two kept."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import StorageError, UserError
from gendistill.files import atomic_write, storage_sentence, sync_directory
from gendistill.notes import note
from gendistill.runs.directory import INCOMING, RunDirectory
from gendistill.runs.progress import last_step
from gendistill.words import counted

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
    incoming = directory.path / INCOMING
    try:
        write_state(incoming, state)
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
    directory.forget_before()


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write one state file, whole or not at all, with its checksum.

    Raises:
        StorageError: The file cannot be written.
    """
    content = {"format": FORMAT, "version": VERSION, **state}
    require_plain(content)
    # To memory first: torch turns a full disk into an error that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    archive = buffer.getbuffer()
    end = _checksum(archive, int(content.get("step", 0)))
    atomic_write(path, lambda file: (file.write(archive), file.write(end)))


def load_state(directory: RunDirectory, device: torch.device, *, mapped: bool = False) -> dict[str, Any] | None:
    """Return the latest saved state that is whole, ``None`` when the run has none.

    Args:
        directory: The run's directory. Nothing in it is changed; see :func:`settle`.
        device: Where tensors that were on a GPU are put; the others stay on the CPU.
        mapped: Leave tensors in the file until they are looked at, for a quick look at the plain values.

    Raises:
        UserError: No state is whole, or one is of a version that this program cannot read.
    """
    if not directory.has_state:
        return None
    if not directory.state.exists():
        try:
            return read_state(directory.previous_state, device, mapped=mapped)
        except DamagedState as error:
            raise UserError(f"{error}, and there is no '{directory.state.name}'; delete it and start again") from error
    try:
        return read_state(directory.state, device, mapped=mapped)
    except DamagedState as error:
        if not directory.previous_state.exists():
            raise UserError(
                f"{error}; delete it and start again (there is no '{directory.previous_state.name}' to fall back on)"
            ) from error
        try:
            found = read_state(directory.previous_state, device, mapped=mapped)
        except DamagedState as other:
            raise UserError(
                f"{error}, and '{directory.previous_state.name}' beside it is damaged, too; put back a copy of either, "
                "or delete both and start again"
            ) from other
        note(f"{error}; the state before it, of step {found.get('step')}, is taken")
        return found


def settle(directory: RunDirectory) -> tuple[dict[str, Any] | None, str | None]:
    """Look at what a run goes on from; where the latest state is damaged, let it go on from the one before it.

    The damaged one is renamed, not deleted: so the next save does not put it in the place of the one that is whole.
    Call it with the directory claimed.

    Args:
        directory: The run's directory.

    Returns:
        The state, its tensors left in the file; None where there is none. What happened, in words; None: nothing.

    Raises:
        UserError: No state is whole.
        StorageError: The damaged one cannot be renamed.
    """
    cpu = torch.device("cpu")
    if not directory.state.exists():
        return load_state(directory, cpu, mapped=True), None
    try:
        return read_state(directory.state, cpu, mapped=True), None
    except DamagedState:
        whole = load_state(directory, cpu, mapped=True) or {}
        lost = ""
        if (reached := noted_step(directory.state) or last_step(directory.log)) > whole["step"]:
            lost = f"; {counted(reached - whole['step'], 'step')} up to {reached} are lost and made again"
        try:
            os.replace(directory.state, directory.damaged_state)
            sync_directory(directory.path)
        except OSError as other:
            raise StorageError(storage_sentence(directory.damaged_state, other)) from other
        return whole, f"it was put aside as '{directory.damaged_state.name}'{lost}"


class DamagedState(UserError):
    """A state's file is cut, changed or something else."""


def read_state(path: Path, device: torch.device, *, mapped: bool = False) -> dict[str, Any]:
    """Read one state file without running code from it.

    Args:
        path: The file.
        device: Where tensors that were on a GPU are put; the others stay on the CPU.
        mapped: See :func:`load_state`.

    Raises:
        DamagedState: It is damaged or no state.
        UserError: It cannot be opened, or is of a version that this program cannot read.
    """
    checked = _checked(path)
    # Tensors that live on the CPU beside a GPU, as an optimiser's step counts do, must not be moved there.
    elsewhere: Any = "cpu" if device.type == "cpu" else {f"cuda:{index}": str(device) for index in range(64)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign files, which the errors below are about
            content = torch.load(path, map_location=elsewhere, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise DamagedState(f"'{path}' is not a state of this program, or it is damaged") from error
    except Exception as error:  # torch raises many kinds for a damaged file; all mean the same to the user
        raise DamagedState(f"'{path}' is damaged or cut short") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedState(f"'{path}' is not a state of this program")
    if content.get("version") != VERSION:
        raise UserError(
            f"'{path}' has format version {content.get('version')!r}, this program reads version {VERSION}; "
            "use the version that wrote it, or start again in another directory"
        )
    if not isinstance(content.get("step"), int) or content["step"] < 0:
        raise DamagedState(f"'{path}' does not say at which step it was saved")
    content["checked"] = checked
    return content


# The checksum stands in the file itself, in the comment that a zip archive may end with: so a state and its checksum
# take the file's name in one step, and torch reads the file as ever.
END = b"PK\x05\x06"
END_SIZE = 22
HEAD = b"gendistill step %020d sha256 "
HEAD_SIZE = len(HEAD % 0)
NOTE = re.compile(rb"gendistill step (\d{20}) sha256 ([0-9a-f]{64})")
NOTE_SIZE = HEAD_SIZE + 64


def _checksum(archive: memoryview, step: int) -> bytes:
    """Return the comment with the checksum of a zip archive, which is made to say that it ends with a comment."""
    if archive[-END_SIZE:][:4] != END or archive[-2:] != b"\0\0":
        raise RuntimeError("torch.save wrote no zip archive without a comment, to which a checksum could be added")
    archive[-2:] = NOTE_SIZE.to_bytes(2, "little")
    head = HEAD % step
    digest = hashlib.sha256(archive)
    digest.update(head)
    return head + digest.hexdigest().encode()


def _checked(path: Path) -> bool:
    """Compare a file with its checksum; False where it has none, as states of earlier versions.

    Raises:
        DamagedState: It does not match, or the file does not end as a state does.
        UserError: It cannot be opened.
    """
    try:
        if not path.is_file():
            raise UserError(f"'{path}' is not a regular file; put a saved state there, or take it away")
        length = path.stat().st_size
        with open(path, "rb") as file:
            file.seek(max(0, length - END_SIZE - NOTE_SIZE))
            end = file.read()
            if end[-END_SIZE:][:4] == END and end[-2:] == b"\0\0":
                return False
            noted = NOTE.fullmatch(end[END_SIZE:])
            if end[:4] != END or noted is None:
                raise DamagedState(f"'{path}' is damaged or cut short, or not a state of this program")
            file.seek(0)
            digest, left = hashlib.sha256(), length - NOTE_SIZE + HEAD_SIZE
            while left:
                part = file.read(min(left, 2**20))
                digest.update(part)
                left -= len(part)
                if not part:
                    raise DamagedState(f"'{path}' is damaged or cut short")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({(error.strerror or str(error)).lower()})") from error
    if digest.hexdigest().encode() != noted[2]:
        raise DamagedState(f"'{path}' is damaged: its content does not match its checksum")
    return True


def noted_step(path: Path) -> int:
    """Return the step that a damaged state's end names, 0 where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - NOTE_SIZE))
            noted = NOTE.fullmatch(file.read())
    except OSError:
        return 0
    return int(noted[1]) if noted else 0


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
