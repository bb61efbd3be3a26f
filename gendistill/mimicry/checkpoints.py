"""Checkpoint files of torch-mimicry: ``netG/netG_{step}_steps.pth`` and ``netD/netD_{step}_steps.pth``."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gendistill import torch_file
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.regular import regular
from gendistill.torch_file import DAMAGED
from gendistill.weights import checked

KEYS = ("model_state_dict", "optimizer_state_dict", "global_step")
NETWORKS = ("netG", "netD")


class Checkpoint(NamedTuple):
    """One network of a torch-mimicry run.

    Attributes:
        model: The network's state dict.
        optimizer: Its optimiser's state dict; ``None`` where the file holds none.
        step: Steps trained.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any] | None
    step: int


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint file, onto the CPU, without running code from it.

    Args:
        path: A file that torch-mimicry or :func:`write_checkpoint` wrote.

    Raises:
        UserError: The file is missing, damaged or not such a checkpoint, or a weight is NaN or infinite.
    """
    path = Path(path)
    if not regular(path).is_file():
        raise UserError(f"there is no checkpoint '{path}'; give a netG_..._steps.pth that torch-mimicry saved")
    try:
        content = torch_file.load(path)
    except DAMAGED as error:
        raise UserError(f"'{path}' is damaged, or holds more than weights, and is not opened") from error
    lacking = [key for key in KEYS if not isinstance(content, Mapping) or key not in content]
    if lacking:
        raise UserError(f"'{path}' is not a checkpoint of torch-mimicry: it lacks {', '.join(lacking)}")
    model, optimizer, step = (content[key] for key in KEYS)
    if not isinstance(model, Mapping) or not isinstance(optimizer, (dict, type(None))) or not isinstance(step, int):
        raise UserError(f"'{path}' is not a checkpoint of torch-mimicry: its values are of other kinds")
    return Checkpoint(checked(model, str(path)), optimizer, step)


def write_checkpoint(directory: str | Path, name: str, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint that torch-mimicry's ``restore_checkpoint`` and its trainer read.

    Args:
        directory: What torch-mimicry calls ``log_dir/checkpoints``.
        name: ``netG`` or ``netD``.
        checkpoint: What to write.

    Returns:
        The file, ``directory/name/name_{step}_steps.pth``.

    Raises:
        StorageError: It cannot be written; a file that was there before is intact.
    """
    path = Path(directory) / name / f"{name}_{checkpoint.step}_steps.pth"
    # To memory first: torch turns a full disk into an error that does not say so.
    buffer = io.BytesIO()
    torch.save(dict(zip(KEYS, checkpoint, strict=True)), buffer)
    atomic_write(path, lambda file: file.write(buffer.getbuffer()))
    return path


def latest_pair(directory: str | Path) -> dict[str, Path]:
    """Return the files of the last step for which both networks were saved.

    Args:
        directory: torch-mimicry's ``log_dir``, or the ``checkpoints`` in it.

    Returns:
        Paths by ``netG`` and ``netD``.

    Raises:
        UserError: There is no such step.
    """
    root = Path(directory)
    if (root / "checkpoints").is_dir():
        root = root / "checkpoints"
    found = {name: _by_step(root / name, name) for name in NETWORKS}
    common = found["netG"].keys() & found["netD"].keys()
    if not common:
        raise UserError(
            f"'{root}' holds no step with both netG/netG_<step>_steps.pth and netD/netD_<step>_steps.pth; give the "
            "log_dir of a torch-mimicry run"
        )
    return {name: files[max(common)] for name, files in found.items()}


def _by_step(folder: Path, name: str) -> dict[int, Path]:
    pattern = re.compile(rf"{name}_(\d+)_steps\.pth")
    matches = ((pattern.fullmatch(path.name), path) for path in folder.glob("*.pth"))
    return {int(match[1]): path for match, path in matches if match}
