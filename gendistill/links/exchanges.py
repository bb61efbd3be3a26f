"""How this process exchanges with others: every wait looks for word that one of them ends, and all is counted."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gendistill.links.ledger import Ledger, ring

LOOK_EVERY = 0.25
"""Seconds of a wait between two looks at whether another process has said that it ends."""
WAITS_STILL = "Operation timed out"
"""What torch says of a wait that was shorter than the exchange; the exchange goes on."""


class Circle:
    """Processes that exchange statistics and gradients.

    Args:
        group: Of torch; None: all processes.
        rank: This process's number in it.
        world: How many they are.
        link: What their exchanges are called in the ledger.
        ranks: Their numbers among all processes; None: the same ones.
    """

    def __init__(
        self,
        group: Any = None,
        rank: int = 0,
        world: int = 1,
        link: str = "everyone",
        ranks: Sequence[int] | None = None,
    ) -> None:
        self.group, self.rank, self.world, self.link = group, rank, world, link
        self.ranks = range(world) if ranks is None else ranks


class Exchanges:
    """What is true of all exchanges of this process.

    Attributes:
        ledger: What was sent.
        role: What this process is, in the ledger.
        circle: Those with which the trainer's batch is shared; None: all processes.
        look: Raises where another process has said that it ends.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget the run before."""
        self.ledger = Ledger()
        self.role = "process"
        self.circle: Circle | None = None
        self.look: Callable[[], None] = lambda: None


OWN = Exchanges()
"""Of this process, whose groups of torch are its own in the same way."""


def wait(work: Any, tensor: Tensor) -> None:
    """Wait for an exchange; on a GPU let its stream wait.

    Args:
        work: What torch returned of it.
        tensor: What is exchanged.

    Raises:
        RuntimeError: It failed, or took longer than its group allows.
    """
    if tensor.device.type != "cpu":
        work.wait()
        return
    while True:
        try:
            work.wait(timedelta(seconds=LOOK_EVERY))
            return
        except RuntimeError as error:
            if WAITS_STILL not in str(error):
                raise
        OWN.look()


def all_reduce(tensor: Tensor, circle: Circle, kind: str, op: Any = dist.ReduceOp.SUM) -> None:
    """Sum a tensor over a circle, in place.

    Args:
        tensor: The same shape in every process.
        circle: Who takes part.
        kind: What it is, in the ledger.
        op: Another reduction.
    """
    sent = ring(tensor.numel(), tensor.element_size(), circle.world, circle.rank)
    OWN.ledger.add(circle.link, OWN.role, kind, sent, 2 * (circle.world - 1))
    wait(dist.all_reduce(tensor, op=op, group=circle.group, async_op=True), tensor)


def everyone(mine: Any, circle: Circle, kind: str, *, to: int | None = None) -> list[Any] | None:
    """Return every process's value, in the order of their ranks.

    Args:
        mine: This one's, of Python's plain values and tensors.
        circle: Who takes part.
        kind: What it is, in the ledger.
        to: The only one that is to have them; None: all.

    Returns:
        One a process; None where ``to`` is another one.
    """
    if circle.world == 1:
        return [mine]
    own = _packed(mine)
    sizes = torch.zeros(circle.world, dtype=torch.int64)
    sizes[circle.rank] = len(own)
    all_reduce(sizes, circle, "control")
    longest = int(sizes.max())
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(own)] = own
    rows = [torch.empty_like(padded) for _ in range(circle.world)]
    others = circle.world - 1 if to is None else int(circle.rank != to)
    OWN.ledger.add(circle.link, OWN.role, kind, others * longest, others)
    if to is None:
        wait(dist.all_gather(rows, padded, group=circle.group, async_op=True), padded)
    else:
        here = circle.rank == to
        wait(dist.gather(padded, rows if here else None, group=circle.group, group_dst=to, async_op=True), padded)
        if not here:
            return None
    return [_unpacked(row[:size]) for row, size in zip(rows, sizes.tolist(), strict=True)]


def _packed(value: Any) -> Tensor:
    """Return a value as bytes (N,) uint8, as a state's file has it."""
    file = io.BytesIO()
    torch.save(value, file)
    return torch.frombuffer(file.getbuffer(), dtype=torch.uint8)


def _unpacked(row: Tensor) -> Any:
    """Return a value from its bytes without running code from it; tensors come back on the CPU."""
    return torch.load(io.BytesIO(row.numpy().tobytes()), map_location="cpu", weights_only=True)
