"""Files of ``torch.save`` that hold tensors and plain numbers, whoever wrote them; nothing in one is run."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from gendistill import torch_file
from gendistill.errors import UserError
from gendistill.teacher.base import first_line


def read(path: Path) -> Any:
    """Read a ``torch.save`` file of tensors, containers and numbers.

    Raises:
        UserError: It is missing, damaged or holds anything else, which might run code; or it is no regular file, or
            expands to more than a file of its size may.
    """
    allowed = [
        (_Type, "numpy.dtype"),
        (_number, "numpy.core.multiarray.scalar"),
        (_number, "numpy._core.multiarray.scalar"),
    ]
    try:
        return torch_file.load(path, allowed)
    except FileNotFoundError as error:
        raise UserError(f"there is no file '{path}'; give the result of public code, or a folder with one") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"'{path}' is no torch.save file of tensors and numbers alone, and what else it holds might run code when "
            "it is opened; load it in the program that made it and save the tensors"
        ) from error
    except torch_file.DAMAGED as error:
        raise UserError(f"'{path}' is damaged or no torch.save file: {first_line(error)}") from error


def read_tensor(path: Path) -> Tensor:
    """Read a file that holds one tensor, or one number.

    Raises:
        UserError: See :func:`read`; or it holds something else.
    """
    content = read(path)
    if isinstance(content, int | float) and not isinstance(content, bool):
        try:
            return torch.tensor(float(content), dtype=torch.float64)
        except OverflowError as error:
            raise UserError(f"'{path}' holds a number beyond all that is computed with") from error
    if not isinstance(content, Tensor):
        raise UserError(f"'{path}' must hold one tensor or number, it holds {type(content).__name__}")
    return content.detach()


def beside(file: Path, name: str) -> Tensor | None:
    """Return the tensor in another file of the same folder, None where there is no such file."""
    path = file.with_name(name)
    return read_tensor(path) if path.is_file() else None


def write(path: Path, content: Any) -> None:
    """Write with ``torch.save``."""
    buffer = io.BytesIO()  # torch.save to a full disk raises no OSError; a plain write does
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())


def own(tensor: Tensor) -> Tensor:
    """Return a tensor that shares no memory, which a file would hold with it."""
    return tensor.detach().cpu().contiguous().clone()


def usual(tensor: Tensor) -> Tensor:
    """Return numbers of types that torch hardly computes with (8-bit floats, uint16 to uint64) as those of others.

    Args:
        tensor: Of a file.

    Returns:
        float32 or int64 in their place; any other tensor itself. Whole numbers beyond int64 become negative, as labels
        and pixels that are refused.
    """
    if tensor.is_floating_point() and tensor.element_size() == 1:
        return tensor.to(torch.float32)
    return tensor.to(torch.int64) if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64) else tensor


def are_tensors(items: Any, count: int) -> TypeGuard[list[Tensor]]:
    """Return whether something is a list or tuple of so many tensors."""
    return isinstance(items, list | tuple) and len(items) == count and all(isinstance(item, Tensor) for item in items)


class _Type:
    """Stands for a numpy type in a file, of which only the name is looked at."""

    def __init__(self, name: str = "", *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and alignment


def _number(kind: _Type, content: Any) -> float:
    """Read one of the accuracies that the condensation papers' code stores as numpy numbers."""
    code = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}.get(kind.name)
    if code is None or not isinstance(content, bytes):
        raise pickle.UnpicklingError(f"a numpy number of type {kind.name!r}")
    return float(struct.unpack(code, content)[0])
