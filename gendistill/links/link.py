"""Links between two blocks: messages go one way or the other, in the order in which they are sent."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gendistill.errors import DivergenceError
from gendistill.links.exchanges import OWN, wait


class Spoiled(DivergenceError):
    """What was to be sent holds NaN or infinity; the sentence says who was to send it."""


class Link(ABC):
    """One block's end of a link.

    Args:
        name: Of the link, in the ledger.
        role: Of the block at this end.
        who: The block in words, with its pair and its process.
        delay: Seconds that every message takes longer, for a network whose latency is to be tried.
    """

    def __init__(self, name: str, role: str, who: str, delay: float = 0.0) -> None:
        self.name, self.role, self.who, self.delay = name, role, who, delay
        self._holding = False
        self._held: list[tuple[str, int]] = []
        self._doubtful: tuple[Tensor, str] | None = None

    def send(self, tensor: Tensor, kind: str) -> None:
        """Send a tensor to the other end.

        Args:
            tensor: Of any shape; it may be changed afterwards.
            kind: What it is, in the ledger and in an error.

        Raises:
            Spoiled: It holds NaN or infinity; on a GPU, which is not waited for, what was sent before it.
        """
        tensor = tensor.detach().contiguous()
        self.require_finite(tensor, kind)
        size = tensor.numel() * tensor.element_size()
        if self._holding:
            self._held.append((kind, size))
        else:
            OWN.ledger.add(self.name, self.role, kind, size)
        self._send(tensor)

    def require_finite(self, tensor: Tensor, kind: str) -> None:
        """Refuse a tensor with NaN or infinity; see :meth:`send`."""
        before, self._doubtful = self._doubtful, None
        if tensor.is_floating_point():
            self._doubtful = tensor.isfinite().all(), kind
            if tensor.device.type == "cpu":
                before, self._doubtful = self._doubtful, None
        if before is not None and not bool(before[0]):
            raise Spoiled(f"{self.who} sent NaN or infinity as {before[1]}")

    def ahead(self) -> None:
        """Count what is sent from now on only when the next step begins: a run that is continued sends it again."""
        self._holding = True

    def settle(self) -> None:
        """Count what was sent ahead."""
        self._holding = False
        for kind, size in self._held:
            OWN.ledger.add(self.name, self.role, kind, size)
        self._held.clear()

    def receive(self, like: Tensor) -> Tensor:
        """Return the next tensor from the other end.

        Args:
            like: Of the shape, the type and the device of what comes; may be on ``meta`` but for the device.
        """
        if self.delay:
            time.sleep(self.delay)
        return self._receive(like)

    @abstractmethod
    def _send(self, tensor: Tensor) -> None: ...

    @abstractmethod
    def _receive(self, like: Tensor) -> Tensor: ...


class InProcess(Link):
    """An end of a link whose other end is in this process."""

    other: InProcess

    def __init__(self, name: str, role: str, who: str) -> None:
        super().__init__(name, role, who)
        self._waiting: deque[Tensor] = deque()

    @staticmethod
    def both(name: str, roles: tuple[str, str], who: tuple[str, str]) -> tuple[InProcess, InProcess]:
        """Return the two ends of a link."""
        one, other = InProcess(name, roles[0], who[0]), InProcess(name, roles[1], who[1])
        one.other, other.other = other, one
        return one, other

    def _send(self, tensor: Tensor) -> None:
        self.other._waiting.append(tensor.clone())

    def _receive(self, like: Tensor) -> Tensor:
        return self._waiting.popleft()


class BetweenProcesses(Link):
    """An end of a link to another process.

    Each message is a broadcast in a group of two: a wait for it can be left when a third process ends, which a wait for
    a plain ``recv`` cannot.

    Args:
        name: Of the link.
        role: Of the block at this end.
        who: The block in words.
        group: Of torch, of the two.
        here: This process's rank among all.
        there: The other's.
        delay: See :class:`Link`.
    """

    def __init__(self, name: str, role: str, who: str, group: Any, here: int, there: int, delay: float = 0.0) -> None:
        super().__init__(name, role, who, delay)
        self._group, self._here, self._there = group, here, there
        self._under_way: deque[tuple[Any, Tensor]] = deque()

    def _send(self, tensor: Tensor) -> None:
        tensor = tensor.clone()
        self._under_way.append((dist.broadcast(tensor, self._here, group=self._group, async_op=True), tensor))
        while self._under_way and self._under_way[0][0].is_completed():
            wait(*self._under_way.popleft())

    def _receive(self, like: Tensor) -> Tensor:
        tensor = torch.empty_like(like, requires_grad=False)
        wait(dist.broadcast(tensor, self._there, group=self._group, async_op=True), tensor)
        # What was sent before this was asked for has arrived.
        while self._under_way:
            wait(*self._under_way.popleft())
        return tensor
