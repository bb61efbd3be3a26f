"""The state of an object, found in its attributes: nothing to declare, so nothing to forget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Plain = (bool, int, float, str, type(None))


def holds_state(value: Any) -> bool:
    """Return whether a value, or anything in its lists and dicts, is a tensor, a generator or has a ``state_dict``."""
    if isinstance(value, (Tensor, torch.Generator)) or has_state_dict(value):
        return True
    if isinstance(value, (list, tuple)):
        return any(holds_state(item) for item in value)
    if isinstance(value, dict):
        return any(holds_state(item) for item in value.values())
    return False


def has_state_dict(value: Any) -> bool:
    """Return whether a value can save and restore itself, as modules, optimisers and schedulers can."""
    if isinstance(value, type):
        return False
    return callable(getattr(value, "state_dict", None)) and callable(getattr(value, "load_state_dict", None))


def is_plain(value: Any) -> bool:
    """Return whether a value is made of numbers, strings, lists, tuples and dicts only."""
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, Plain) and is_plain(item) for key, item in value.items())
    return isinstance(value, Plain)


def capture(value: Any) -> Any:
    """Return the state of a value in plain values and tensors; ``None`` stands for what has no state."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, Tensor):
        return value.detach()
    if has_state_dict(value):
        return value.state_dict()
    if isinstance(value, (list, tuple)):
        return [capture(item) for item in value]
    if isinstance(value, dict):
        return {key: capture(item) for key, item in value.items()}
    return value if isinstance(value, Plain) else None


def restore(value: Any, state: Any) -> Any:
    """Put a captured state back, in place wherever that is possible.

    Args:
        value: What is there now, built anew.
        state: What :func:`capture` returned.

    Returns:
        What the attribute should hold: ``value`` itself, or its replacement.
    """
    if isinstance(value, torch.Generator):
        value.set_state(state.cpu())
        return value
    if isinstance(value, Tensor):
        if value.shape == state.shape and value.dtype == state.dtype:
            # In place: optimisers and views refer to this very tensor.
            with torch.no_grad():
                value.copy_(state)
            return value
        return state.to(value.device).requires_grad_(value.requires_grad)
    if has_state_dict(value):
        value.load_state_dict(state)
        return value
    if isinstance(value, list) and isinstance(state, list):
        value[:] = [restore(value[index] if index < len(value) else None, item) for index, item in enumerate(state)]
        return value
    if isinstance(value, tuple) and isinstance(state, list):
        return tuple(restore(item, saved) for item, saved in zip(value, state, strict=True))
    if isinstance(value, dict) and isinstance(state, dict):
        restored = {key: restore(value.get(key), item) for key, item in state.items()}
        value.clear()
        value.update(restored)
        return value
    if isinstance(value, (*Plain, list, tuple, dict)):
        return state
    return value


def find(kind: type, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, object)`` for each object of a kind in the values and in their lists and dicts."""
    for name, value in values.items():
        if isinstance(value, kind):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from find(kind, {f"{name}.{index}": item for index, item in enumerate(value)})
        elif isinstance(value, dict):
            yield from find(kind, {f"{name}.{key}": item for key, item in value.items()})


def first_not_finite(values: Mapping[str, Any]) -> str | None:
    """Return the name of the first tensor of the state that holds NaN or infinity, ``None`` when all are finite.

    Plain tensors that are not trained may hold infinity ("best so far"), but not NaN.
    """
    names: list[str] = []
    flags: list[Tensor] = []

    def look(name: str, tensor: Tensor, infinite: bool) -> None:
        if tensor.is_floating_point() and tensor.numel():
            bad = tensor.detach().isfinite().logical_not() if infinite else tensor.detach().isnan()
            names.append(name)
            flags.append(bad.any())

    for name, module in find(nn.Module, values):
        for key, tensor in module.state_dict().items():
            if isinstance(tensor, Tensor):
                look(f"{name}.{key}", tensor, infinite=True)
    for name, tensor in find(Tensor, values):
        look(name, tensor, infinite=tensor.requires_grad)
    for name, optimizer in find(torch.optim.Optimizer, values):
        for index, state in enumerate(optimizer.state.values()):
            for key, tensor in state.items():
                if isinstance(tensor, Tensor):
                    look(f"{name}.{index}.{key}", tensor, infinite=True)
    for device in {flag.device for flag in flags}:
        here = [index for index, flag in enumerate(flags) if flag.device == device]
        found = torch.stack([flags[index] for index in here]).nonzero()
        if len(found):
            return names[here[int(found[0, 0])]]
    return None
