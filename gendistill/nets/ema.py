"""An exponential moving average of a network's parameters."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.errors import UserError


def warmed(decay: float, updates: int) -> float:
    """Return the decay of an average at update t: ``min(decay, (1 + t) / (10 + t))``, which forgets the start soon."""
    return min(decay, (1 + updates) / (10 + updates))


class EMA:
    """Keeps ``average <- d average + (1 - d) parameter`` with ``d = min(decay, (1 + t) / (10 + t))`` at update t.

    The warm-up lets the average forget the initial weights within a few updates. Parameters are averaged; buffers
    (statistics of batch norm, vectors of spectral norm) are copied.

    Args:
        module: The network to follow; it is copied.
        decay: In [0, 1); 0 means that the average is the network itself.

    Raises:
        UserError: ``decay`` is outside [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"ema_decay must be at least 0 (no averaging) and below 1, got {decay}")
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the network's present parameters and buffers."""
        decay = warmed(self.decay, self.updates)
        averages: list[Tensor] = list(self.module.parameters())
        torch._foreach_lerp_(averages, [parameter.detach() for parameter in module.parameters()], 1 - decay)
        for own, other in zip(self.module.buffers(), module.buffers(), strict=True):
            own.copy_(other)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged network and the number of updates."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Read what :meth:`state_dict` wrote."""
        self.module.load_state_dict(state["module"])
        self.updates = int(state["updates"])
