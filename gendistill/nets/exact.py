"""Layers of torch's whose second derivatives are wrong or missing, by formulas that have right ones.

Training that is differentiated needs the derivative of a gradient with respect to the weights. Torch's fused weight
normalisation (``torch._weight_norm``) takes the norm for a constant there, without a word. Its fused attention has no
such derivative at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm

Exchange = tuple[Any, str, Callable[..., Any]]
"""An object, the name of a method of it, and what takes the method's place."""


class TwiceDifferentiable:
    """Exact second derivatives for a network.

    Args:
        network: The network; its layers are looked through once, here.
    """

    def __init__(self, network: nn.Module) -> None:
        self.exchanges: list[Exchange] = []
        for module in network.modules():
            if isinstance(module, _WeightNorm):
                self.exchanges.append((module, "forward", _parametrised))
            hooks = (hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm))
            self.exchanges += [(hook, "compute_weight", _hooked) for hook in hooks]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Call the network inside."""
        with exchanged(self.exchanges), sdpa_kernel(SDPBackend.MATH):
            yield


@contextmanager
def exchanged(places: Iterable[Exchange]) -> Iterator[None]:
    """Let objects have other methods inside; one that was exchanged already stays as it is."""
    changed = []
    try:
        for thing, name, method in places:
            if name not in vars(thing):
                thing.__dict__[name] = MethodType(method, thing)
                changed.append((thing, name))
        yield
    finally:
        for thing, name in changed:
            del thing.__dict__[name]


def _parametrised(norm: Any, length: Tensor, direction: Tensor) -> Tensor:
    return _normalised(length, direction, norm.dim)


def _hooked(norm: Any, module: nn.Module) -> Tensor:
    return _normalised(getattr(module, f"{norm.name}_g"), getattr(module, f"{norm.name}_v"), norm.dim)


def _normalised(length: Tensor, direction: Tensor, dim: int) -> Tensor:
    """w = g v / |v|, Salimans & Kingma 2016; -1: one norm of all values."""
    others = None if dim == -1 else [other for other in range(direction.dim()) if other != dim]
    return direction * (length / torch.linalg.vector_norm(direction, dim=others, keepdim=dim != -1))
