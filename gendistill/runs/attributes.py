"""The state of an object, found in its attributes: nothing to declare, so nothing to forget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Plain = (bool, int, float, str, type(None))
AVERAGES = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg"}
"""What torch's optimisers call their running means, which have the shape of the parameter."""
UNFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a state may raise that is none of what it is put into."""


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
        if len(state) == len(value.get_state()):  # else it is of another kind of device, and starts anew
            value.set_state(state.cpu())
        return value
    if isinstance(value, Tensor):
        if value.shape == state.shape and value.dtype == state.dtype:
            # In place: optimisers and views refer to this very tensor.
            with torch.no_grad():
                value.copy_(state)
            return value
        if value.requires_grad and value.shape != state.shape:  # an optimiser would go on with the other one
            raise ValueError(f"it has the shape {tuple(state.shape)}, expected {tuple(value.shape)}")
        return state.to(value.device).requires_grad_(value.requires_grad)
    if isinstance(value, torch.optim.Optimizer):
        before = [dict(group) for group in value.param_groups]
        value.load_state_dict(state)
        for at, (then, now) in enumerate(zip(before, value.param_groups, strict=True)):
            _require_options(then, now, f"group {at} of its optimiser")
        for parameter, kept in value.state.items():
            _require_averages(parameter, kept)
        return value
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


def _require_options(built: Mapping[str, Any], loaded: Mapping[str, Any], where: str) -> None:
    """Refuse options of an optimiser that it could not make a step with; it takes any, and fails later."""
    for name, value in built.items():
        if name not in loaded:
            raise ValueError(f"{where} lacks '{name}'")
        if isinstance(value, (int, float)) and not isinstance(loaded[name], (int, float, Tensor)):
            raise ValueError(f"'{name}' in {where} is no number")


def _require_averages(parameter: Tensor, kept: Mapping[str, Any]) -> None:
    """Refuse running means of an optimiser that are none of the parameter."""
    for name in AVERAGES & set(kept):
        if kept[name] is not None and getattr(kept[name], "shape", None) != parameter.shape:
            raise ValueError(f"'{name}' of its optimiser does not have the shape {tuple(parameter.shape)}")


def find(kind: type, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, object)`` for each object of a kind in the values and in their lists and dicts."""
    for name, value in values.items():
        if isinstance(value, kind):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from find(kind, {f"{name}.{index}": item for index, item in enumerate(value)})
        elif isinstance(value, dict):
            yield from find(kind, {f"{name}.{key}": item for key, item in value.items()})


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of all tensors of a captured state that hold NaN or infinity; one look at the device."""
    names: list[str] = []
    flags: list[Tensor] = []
    for name, tensor in find(Tensor, state):
        if (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel():
            names.append(name)
            flags.append(tensor.detach().isfinite().all())
    found: list[str] = []
    for device in {flag.device for flag in flags}:
        here = [index for index, flag in enumerate(flags) if flag.device == device]
        finite = torch.stack([flags[index] for index in here]).tolist()
        found += [names[index] for index, good in zip(here, finite, strict=True) if not good]
    return found
