"""A GPU that is not there: tensors that say they are on another device, while their numbers are the CPU's.

What a program may not do on a GPU it may not do here either: tensors of two devices do not mix, and a generator draws
on its own device alone. What would make the program wait is noted with the line of the project that asked for it: a
number read from the device, a shape that depends on numbers, a copy to the host, a copy of numbers made on the host.

The device is called ``meta``, which is the one that torch knows on every machine.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]

SHAPED_BY_NUMBERS = ("nonzero", "masked_select", "_unique", "unique_", "bincount", "repeat_interleave")
COPIES = ("_to_copy", "copy_")
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")


class Elsewhere(Tensor):
    """A tensor on the device that is not there."""

    held: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> Elsewhere:
        """Wrap a tensor of the CPU, which is not copied."""
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            layout=real.layout,
            device=DEVICE,
        )
        made.held = real
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """Show the numbers."""
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Work on the numbers where no :class:`StandIn` is active."""
        return StandIn.current()._run(operator, args, kwargs or {})


class Claimed(torch.Generator):
    """A generator of the CPU that says it is of another device."""

    claims = DEVICE

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Return the device that it stands for."""
        return self.claims


class StandIn(TorchDispatchMode):
    """While active, ``meta`` is a device whose operators give numbers, and what waits for it is noted.

    Attributes:
        waits: What made the program wait, "kind at file:line", in the order of the calls.
        operators: How often each operator was dispatched.
    """

    _active: list[StandIn] = []

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.operators: Counter[str] = Counter()

    @classmethod
    def current(cls) -> StandIn:
        """Return the one that is active, or one that nobody looks at."""
        return cls._active[-1] if cls._active else cls()

    def forget(self) -> None:
        """Begin to note anew."""
        self.waits.clear()
        self.operators.clear()

    def note(self, kind: str) -> None:
        """Note that the program waits, with the innermost line of the project that asked."""
        frame: Any = sys._getframe(1)
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT) and ".venv" not in path.parts and path.resolve() != HERE:
                self.waits.append(f"{kind} at {path.relative_to(ROOT)}:{frame.f_lineno}")
                return
            frame = frame.f_back
        self.waits.append(f"{kind} outside the project")

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator."""
        return self._run(operator, args, kwargs or {})

    def _run(self, operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        name = operator._schema.name.removeprefix("aten::")
        self.operators[name] += 1
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        there = any(isinstance(tensor, Elsewhere) for tensor in tensors)
        asked = kwargs.get("device")
        target = torch.device(asked).type == DEVICE.type if asked is not None else there
        self._check(name, operator, args, kwargs, tensors, there, target)
        # A pageable copy to the device is waited for, unless the call says otherwise.
        bare_args, bare = tree_map(_bare, args), {key: tree_map(_bare, value) for key, value in kwargs.items()}
        if asked is not None:
            bare["device"] = torch.device("cpu") if target else asked
        result = operator(*bare_args, **bare)
        if name == "_local_scalar_dense" or not target:
            return result
        return _wrapped(operator, args, kwargs, result)

    def _check(
        self, name: str, operator: Any, args: Any, kwargs: Any, tensors: list[Tensor], there: bool, target: bool
    ) -> None:
        if name == "_local_scalar_dense" and there:
            self.note("a number is read")
        elif (
            there
            and name.startswith(SHAPED_BY_NUMBERS)
            and not (name == "repeat_interleave" and kwargs.get("output_size") is not None)
        ):
            self.note(f"a shape depends on numbers ({name})")
        elif name in COPIES:
            self._copied(name, args, kwargs, there, target)
        elif there and name in INDEXED:
            for index in (leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)):
                if index.dtype in (torch.bool, torch.uint8):
                    self.note("a shape depends on numbers (a mask as index)")
                elif not isinstance(index, Elsewhere):
                    self.note("an index is copied to the device")
        elif there and any(not isinstance(tensor, Elsewhere) and tensor.dim() for tensor in tensors):
            raise RuntimeError(f"{name}: tensors are on two devices")

    def _copied(self, name: str, args: Any, kwargs: Any, there: bool, target: bool) -> None:
        lazily = bool(kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
        if name == "copy_":
            to, source = isinstance(args[0], Elsewhere), isinstance(args[1], Elsewhere)
        else:
            to, source = target, isinstance(args[0], Elsewhere)
        if source and not to:
            self.note("a tensor is copied to the host")
        elif to and not source and not lazily:
            self.note("a tensor is copied to the device, and waited for")


def _bare(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


def _wrapped(operator: Any, args: Any, kwargs: Any, result: Any) -> Any:
    """Wrap what an operator returned; what it changed in place is the tensor that was given."""
    given = {id(leaf.held): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Elsewhere)}

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, Elsewhere):
            return value
        known = given.get(id(value))
        return Elsewhere(value) if known is None else known

    return tree_map(wrap, result)


class _Calls(TorchFunctionMode):
    """Calls that never become an operator of the device: numbers to a tensor, a tensor to numbers."""

    def __init__(self, device: StandIn) -> None:
        super().__init__()
        self.stand_in = device

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        makes = function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor)
        if makes and torch.device(kwargs.get("device") or "cpu").type == DEVICE.type:
            self.stand_in.note("a tensor is made of numbers")
            return Elsewhere(function(*args, **kwargs | {"device": "cpu"}))
        if function is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            self.stand_in.note("a tensor is made of numbers")
            return Elsewhere(args[0].held.new_tensor(*args[1:], **kwargs))
        if function in (Tensor.tolist, Tensor.numpy) and isinstance(args[0], Elsewhere):
            self.stand_in.note("a tensor is copied to the host")
            return function(args[0].held, *args[1:], **kwargs)
        result = function(*args, **kwargs)
        drawer = next((value for value in (*args, *kwargs.values()) if isinstance(value, _GENERATOR)), None)
        if (
            drawer is not None
            and isinstance(result, Tensor)
            and isinstance(drawer, Claimed) != isinstance(result, Elsewhere)
        ):
            name = getattr(function, "__name__", str(function))
            raise RuntimeError(f"{name} on {result.device}: a generator of {drawer.device} draws elsewhere")
        return result


@contextlib.contextmanager
def stand_in() -> Iterator[StandIn]:
    """Return the device's notes; inside, ``meta`` is a device with numbers and with generators."""
    device = StandIn()
    with contextlib.ExitStack() as stack:
        StandIn._active.append(device)
        stack.callback(StandIn._active.pop)
        stack.enter_context(patch("torch.Generator", _Generator))
        stack.enter_context(patch("torch.autocast", _autocast))
        stack.enter_context(patch("torch.get_autocast_dtype", partial(_of_the_host, torch.get_autocast_dtype)))
        stack.enter_context(patch("torch.is_autocast_enabled", partial(_of_the_host, torch.is_autocast_enabled)))
        stack.enter_context(device)
        stack.enter_context(_Calls(device))
        yield device


_GENERATOR = torch.Generator


class _IsGenerator(type):
    def __instancecheck__(cls, thing: object) -> bool:
        return isinstance(thing, _GENERATOR)


class _Generator(metaclass=_IsGenerator):
    """In the place of the class ``torch.Generator``."""

    def __new__(cls, device: torch.device | str = "cpu") -> Any:
        """Return a generator of the CPU, or one that says it is not."""
        return Claimed() if torch.device(device).type == DEVICE.type else _GENERATOR(device)


_AUTOCAST = torch.autocast


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
    """Return autocast, which the device that is not there has not: off there."""
    if device_type == DEVICE.type:
        return _AUTOCAST("cpu", enabled=False)
    return _AUTOCAST(device_type, *args, **kwargs)


def _of_the_host(asked: Any, device_type: str = "cuda") -> Any:
    """Answer for the CPU what is asked of the device that is not there."""
    return asked("cpu" if device_type == DEVICE.type else device_type)


class _HostDraws(TorchFunctionMode):
    """Numbers that a generator of another device is asked for are drawn on the CPU and brought there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        drawer = next((value for value in (*args, *kwargs.values()) if isinstance(value, Claimed)), None)
        if drawer is None:
            return function(*args, **kwargs)
        here, named = tree_map(_to_host, args), {key: tree_map(_to_host, value) for key, value in kwargs.items()}
        if named.get("device") is not None:
            named["device"] = "cpu"
        result = function(*here, **named)
        if args and isinstance(args[0], Tensor) and result is here[0]:  # in place
            return args[0].copy_(result)
        return tree_map(partial(_to_device, drawer.device), result)


def _to_host(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def _to_device(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


class _HostGenerator(metaclass=_IsGenerator):
    def __new__(cls, device: torch.device | str = "cpu") -> Any:
        if torch.device(device).type == "cpu":
            return _GENERATOR()
        made = Claimed()
        made.claims = torch.device(device)
        return made


@contextlib.contextmanager
def drawn_on_the_host() -> Iterator[None]:
    """Inside, generators of every device draw the CPU's numbers, so that two devices can be compared."""
    with patch("torch.Generator", _HostGenerator), _HostDraws():
        yield
