"""From the name of a device to the device."""

from __future__ import annotations

import torch

from gendistill.errors import UserError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device that a name stands for.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or another kind that this torch knows.
        local_rank: Number of this process on its machine; it picks the GPU when ``name`` does not say which.

    Raises:
        UserError: The name is unknown or the machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"run.device is '{name}'; choose auto, cpu, cuda or a numbered GPU such as cuda:0") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(f"run.device is '{name}' but torch sees no GPU here; choose cpu or auto")
        index = local_rank if device.index is None else device.index
        if index >= count:
            raise UserError(f"run.device needs GPU {index} but torch sees {count} here, numbered from 0")
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    try:
        torch.zeros(1, device=device).cpu()  # a device without memory, as "meta" is, has no values to give
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"run.device is '{name}', which torch cannot use here; choose cpu or auto") from error
    return device
