"""What building a network may cost that nobody vouches for: numbers and parts are counted while it is built.

A tensor is counted before it is made and a module as it is put into another, so that a width or a depth that is far too
large ends in a sentence, and neither fills the memory nor takes an hour.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook
from torch.overrides import TorchFunctionMode

from gendistill.errors import UserError

FACTORIES = frozenset(
    (torch.empty, torch.zeros, torch.ones, torch.full, torch.randn, torch.rand, torch.eye, torch.arange, torch.linspace)
)
DRAWN = (torch.randn, torch.rand)


class Frugal(TorchFunctionMode):
    """Refuses tensors when they would be more, or hold more numbers, than a network may have.

    Args:
        where: What asks for the network, for the sentence.
        values: Numbers of all tensors.
        parts: Tensors, and modules within modules.
    """

    def __init__(self, where: str, values: int, parts: int) -> None:
        super().__init__()
        self.where, self.values, self.parts = where, values, parts

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count what a factory function is asked for; run everything."""
        kwargs = kwargs or {}
        if func in FACTORIES and "out" not in kwargs:
            # The size alone is wanted: nothing is drawn, and nothing is held on this device.
            sized, options = func, kwargs
            if func in DRAWN:
                sized, options = torch.empty, {name: kwargs[name] for name in ("size",) if name in kwargs}
            self.values -= sized(*args, **{**options, "device": "meta", "pin_memory": False}).numel()
            self.part()
        return func(*args, **kwargs)

    def part(self) -> None:
        """Count one more part."""
        self.parts -= 1
        if self.values < 0:
            raise UserError(
                f"{self.where} asks for a network far larger than the weights that it holds, or than one that a file "
                "may name without holding them; name it yourself if you want it"
            )
        if self.parts < 0:
            raise UserError(
                f"{self.where} asks for a network of far more layers than a file may name; name it yourself if you "
                "want it"
            )


@contextmanager
def bounded(where: str, values: int, parts: int) -> Iterator[None]:
    """Let networks built inside, in this thread, have so many numbers and parts, and raise a UserError beyond.

    Args:
        where: What asks for the network, for the sentence.
        values: Numbers of all tensors that are made; initialisation works on copies.
        parts: Tensors that are made, and modules within modules.
    """
    limit, here = Frugal(where, values, parts), threading.get_ident()

    def count(*_: Any) -> None:
        if threading.get_ident() == here:
            limit.part()

    handle = register_module_module_registration_hook(count)
    try:
        with limit:
            yield
    finally:
        handle.remove()
