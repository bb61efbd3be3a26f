"""The processes that train one model together, as torchrun starts them.

Plain torch and explicit averaging: gradients are computed on bare modules, then averaged by one call. A wrapper that
hooks into the backward pass gives silently wrong second-order gradients.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gendistill.errors import GendistillError, UserError
from gendistill.exchange import means_over_processes
from gendistill.links.exchanges import OWN, Circle, all_reduce, everyone
from gendistill.links.ledger import together
from gendistill.runs.partners import PATIENCE, Partners, end_with_launcher, require_alike


class Meetings:
    """Where the processes meet, and how often these have begun a run: all begin the same ones in the same order."""

    store: dist.Store | None = None
    runs: int = 0


class StoppedByAnother(GendistillError):
    """A process stops because another one does, which says why.

    Attributes:
        exit_code: The other's.
    """

    def __init__(self, rank: int, other: int, exit_code: int = 1, name: str | None = None) -> None:
        super().__init__(f"process {rank} stops because {name or f'process {other}'} did; its message says why")
        self.exit_code = exit_code


class Processes:
    """This process among those of the run; one process alone by default.

    Attributes:
        rank: Number of this process, from 0.
        world: How many processes there are.
        local_rank: Number of this process on its machine.
        main: Whether this process writes the files.
        circle: Those with which it exchanges.
    """

    def __init__(self, rank: int = 0, world: int = 1, local_rank: int = 0, circle: Circle | None = None) -> None:
        self.rank = rank
        self.world = world
        self.local_rank = local_rank
        self.circle = circle or Circle(None, rank, world)
        self._partners: Partners | None = None

    @property
    def main(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    @classmethod
    def from_environment(cls) -> Processes:
        """Read the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK); without them: one process.

        Raises:
            UserError: Only some of the variables are set, or they are not numbers.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
            return cls()
        try:
            rank, world, local_rank = (int(os.environ[name]) for name in names)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{', '.join(names)} must all be whole numbers in the environment, or none set; start with torchrun"
            ) from error
        return cls(rank, world, local_rank)

    @property
    def partners(self) -> Partners:
        """The others, for when one of them is gone."""
        if self._partners is None:
            self._partners = Partners(self.rank, self.world, Meetings.store, Meetings.runs)
        return self._partners

    def name(self, place: int) -> str:
        """Return what the process in a place among these is called in a sentence."""
        return self.partners.name(self.circle.ranks[place])

    @property
    def number(self) -> int:
        """This process's number among all of the run, also where these are some of them."""
        return int(self.circle.ranks[self.rank])

    def groups(self, members: Sequence[Sequence[int]], timeout: float) -> list[Any]:
        """Make groups of torch; every process of the run makes all of them, whether it is in one or not.

        Args:
            members: Ranks of each.
            timeout: Seconds within which the run ends when one of a group is waited for in vain.
        """
        limit = timedelta(seconds=_waiting(timeout))
        return [dist.new_group(list(ranks), timeout=limit) for ranks in members]

    def connect(self, timeout: float = 600.0) -> None:
        """Join the other processes: gloo for CPU tensors, nccl for GPU tensors.

        The group stays for the next run of this process: torchrun's store cannot make a second one. It is left when
        the interpreter ends. From here on the launcher's end ends this process.

        Args:
            timeout: Seconds within which the run ends when another process is waited for in vain.
        """
        if self.world == 1:
            return
        Meetings.runs += 1
        if not dist.is_initialized():
            self._join(timeout)
        self._partners = None  # what was said in the run before says nothing of this one
        self.partners.here()

    def _join(self, timeout: float) -> None:
        # Torch imports this with the first optimiser. Imported after the group is made it keeps the group for good, and
        # the threads of a group that outlives the interpreter now and then abort the process.
        importlib.import_module("torch._dynamo")
        end_with_launcher()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        limit = timedelta(seconds=_waiting(timeout))
        store, rank, world = next(iter(dist.rendezvous("env://", self.rank, self.world, timeout=limit)))
        Meetings.store = store
        group = dist.PrefixStore("group", store)
        dist.init_process_group(backend, store=group, rank=rank, world_size=world, timeout=limit)
        atexit.register(_leave)

    def require_alike(self, mine: Mapping[str, Any]) -> None:
        """See that all processes were given the same; see :func:`gendistill.runs.partners.require_alike`."""
        if self.world > 1:
            require_alike(mine, self.world)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes, with one exchange for all of them.

        Args:
            parameters: Tensors with ``.grad``; those without a gradient are left out, the same ones in every process.
        """
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.detach().reshape(-1) for gradient in gradients])
        self.sum(flat, "gradients")
        flat /= self.world
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum(self, tensor: Tensor, kind: str) -> None:
        """Sum a tensor over the processes, in place; ``kind`` is what it is in the ledger."""
        if self.world > 1:
            all_reduce(tensor, self.circle, kind)

    def everyone(self, mine: Any, kind: str, *, to: int | None = None) -> list[Any] | None:
        """Return every process's value; see :func:`gendistill.links.exchanges.everyone`."""
        return everyone(mine, self.circle, kind, to=to)

    def counted(self) -> list[dict[str, Any]]:
        """Return what all processes have sent so far, in the main one; what this one has sent in the others."""
        mine = OWN.ledger.rows()
        return together(self.everyone(mine, "control", to=0) or [mine])

    def shard(self, tensor: Tensor) -> Tensor:
        """Return this process's slice of the first dimension: (B, ...) to (B / world, ...).

        Raises:
            UserError: The first dimension does not divide by the number of processes.
        """
        if self.world == 1:
            return tensor
        size = len(tensor)
        if size % self.world:
            raise UserError(
                f"a batch of {size} does not divide among {self.world} processes; choose a batch size that is a "
                f"multiple of {self.world}"
            )
        part = size // self.world
        return tensor[self.rank * part : (self.rank + 1) * part]

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.highest(0)

    def on_main(self, action: Callable[[], object]) -> None:
        """Let the main process do something while the others wait; when it fails, all of them stop.

        Raises:
            GendistillError: What ``action`` raised, in the main process; in the others a pointer to it.
        """
        failure: GendistillError | None = None
        if self.main:
            try:
                action()
            except GendistillError as error:
                failure = error
        code = self.highest(failure.exit_code if failure else 0)
        if failure is not None:
            raise failure
        if code:
            raise StoppedByAnother(self.rank, 0, code)

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes; the tensor itself is left alone."""
        if self.world == 1:
            return tensor
        total = tensor.detach().clone()
        self.sum(total, "metrics")
        return total / self.world

    def means(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the mean of each tensor over the processes, differentiable as often as wanted.

        Every process must ask for the same ones, and pass its way back.

        Args:
            values: Of any shapes, the same ones in every process.
        """
        return means_over_processes(values, self.world)

    def gathered(self, tensor: Tensor) -> Tensor:
        """Return all processes' slices (B / world, ...) as the whole (B, ...), the inverse of :meth:`shard`.

        Differentiable as often as wanted.
        """
        if self.world == 1:
            return tensor
        rows = [torch.zeros_like(tensor)] * self.world
        rows[self.rank] = tensor * self.world
        return self.means([torch.cat(rows)])[0]

    def first(self, mine: bool) -> int | None:
        """Return the first process in which something is so, in every process; None: in none."""
        found = self.highest(self.world - self.rank if mine else 0)
        return self.world - found if found else None

    def highest(self, value: int) -> int:
        """Return the highest of the processes' numbers, in every process."""
        if self.world == 1:
            return value
        flag = torch.tensor([value])
        all_reduce(flag, self.circle, "control", dist.ReduceOp.MAX)
        return int(flag)


def _waiting(timeout: float) -> float:
    """Return the seconds that an exchange waits: what is left is for finding out, and saying, who is missing."""
    return timeout - min(PATIENCE + 0.25, timeout / 4)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
