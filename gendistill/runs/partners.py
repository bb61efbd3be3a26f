"""What a process knows of those that it trains with when one of them has ended, hangs, or was given something else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from gendistill.errors import UserError
from gendistill.links.exchanges import Circle, everyone

PATIENCE = 1.0
"""Seconds in which the processes that are left tell one another so."""
LOOK_EVERY = 1.0
"""Seconds between two looks at whether the launcher is still there."""
LAUNCHERS = ("torchrun", "torch.distributed.run", "torch/distributed/run", "torch.distributed.launch")
LOST = (
    "gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Timed out waiting", "store->get",
    "pair closure",
)  # fmt: skip
"""Words of torch's errors in an exchange between processes; gloo raises a bare RuntimeError."""
ALONE_MAY_DIFFER = frozenset({"run.root", "run.device", "run.progress", "data.root", "data_root"})
"""Keys of a config that are each machine's own business."""


def is_loss(error: BaseException) -> bool:
    """Return whether an error says that another process did not answer."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    kinds = (dist.DistError, ConnectionError)
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and any(word in str(error) for word in LOST))


def is_timeout(error: BaseException) -> bool:
    """Return whether another process was waited for in vain, and has not ended."""
    return re.search(r"timed? ?out", str(error), re.IGNORECASE) is not None


@cache
def command_of_launcher() -> str | None:
    """Return the command that started the processes, as it can be typed again; None where that is not known.

    What was found once stays: the launcher may have ended when it is asked for.
    """
    try:
        given = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return None
    words = [os.fsdecode(word) for word in given]
    ours = any(word.endswith("gendistill") for word in words[:3]) and "torchrun" in words
    if not words or not (ours or any(known in word for word in words[:4] for known in LAUNCHERS)):
        return None
    return shlex.join(words)


class LostPartner(ConnectionError):
    """Another process has ended, which was found at the store before the exchange itself failed."""


class Partners:
    """The other processes, met at the launcher's store and not in exchanges, which need all of them.

    Args:
        rank: Number of this process.
        world: How many there are.
        store: Where they meet if not at torchrun's, which outlives them; None: nowhere else.
        run: Which run of these processes it is: what was said in an earlier one says nothing of this one. 0: of none.

    Attributes:
        names: What processes are called beside their number, such as the blocks of a GAN that is cut in two.
    """

    def __init__(self, rank: int, world: int, store: dist.Store | None = None, run: int = 0) -> None:
        self.rank, self.world = rank, world
        self.names: dict[int, str] = {}
        self._store: dist.Store | None = None if store is None else dist.PrefixStore("gendistill", store)
        with contextlib.suppress(Exception):
            self._store = _store_of_agent() or self._store
        if run and self._store is not None:
            self._store = dist.PrefixStore(f"run-{run}", self._store)

    @classmethod
    def from_environment(cls) -> Partners:
        """Meet the others of torchrun, also before they are joined."""
        try:
            return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        except (KeyError, ValueError):
            return cls(0, 1)

    def first_to_say(self, sentence: str) -> bool:
        """Return whether no other process has said a sentence; where that cannot be known: yes.

        Numbers aside, and what is kept: one process may know of a state that another has just saved, others not yet.
        """
        sentence = sentence.partition("; ")[0]
        key = hashlib.sha256(re.sub(r"\d+", "#", sentence).encode()).hexdigest()[:16]
        return self._add(f"said/{key}", otherwise=1) == 1

    def name(self, rank: int) -> str:
        """Return what a process is called in a sentence."""
        return f"{self.names[rank]} (process {rank})" if rank in self.names else f"process {rank}"

    def here(self) -> None:
        """Let the others know which process of which machine this one is, should it hang."""
        with contextlib.suppress(Exception):
            assert self._store is not None
            self._store.set(f"place/{self.rank}", f"{os.getpid()} {os.getppid()} {socket.gethostname()}")

    def look(self) -> None:
        """See that nobody has left; asked again and again by a process that waits for another one.

        Raises:
            LostPartner: Another one has, or ends with a word of its own.
        """
        if self._read("ended"):
            raise LostPartner("another process has ended")

    def leave_word(self) -> None:
        """Let the others know that this process ends for a reason that it says."""
        self._add(f"word/{self.rank}", otherwise=0)
        self._add("ended", otherwise=0)

    def say_late(self) -> None:
        """Let the others know that somebody was waited for in vain."""
        self._add("late", otherwise=0)

    def is_late(self) -> bool:
        """Return whether somebody was waited for in vain."""
        return self._read("late") > 0

    def end(self, rank: int) -> None:
        """Kill another process that hangs, where it is one of this machine that the same launcher has started."""
        with contextlib.suppress(Exception):
            assert self._store is not None
            if not self._store.check([f"place/{rank}"]):
                return
            process, parent, machine = self._store.get(f"place/{rank}").decode().split()
            now = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
            if machine == socket.gethostname() and now == parent == str(os.getppid()):
                os.kill(int(process), signal.SIGKILL)

    def gone(self, patience: float = PATIENCE) -> tuple[list[int], list[int]]:
        """Return which other processes end with a word of their own, and which are gone or hang without one.

        Every process that has lost another one must call this.
        """
        self._add(f"left/{self.rank}", otherwise=0)
        self._add("ended", otherwise=0)
        others = [rank for rank in range(self.world) if rank != self.rank]
        deadline = time.monotonic() + patience
        while True:
            spoke = [rank for rank in others if self._read(f"word/{rank}")]
            silent = [rank for rank in others if rank not in spoke and not self._read(f"left/{rank}")]
            if not silent or time.monotonic() > deadline or self._store is None:
                # Where nobody can be asked nobody is named.
                return spoke, silent if self._store is not None else []
            time.sleep(0.05)

    def _read(self, key: str) -> int:
        return self._add(key, by=0, otherwise=0)

    def _add(self, key: str, by: int = 1, *, otherwise: int) -> int:
        if self._store is None:
            return otherwise
        try:
            return int(self._store.add(key, by))
        except Exception:  # the launcher, and its store, have ended
            self._store = None
            return otherwise


def _store_of_agent() -> dist.Store | None:
    """Return torchrun's store, which outlives the processes; None: there is none, or the first process holds it."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    socket.create_connection((host, port), timeout=PATIENCE).close()  # torch says twenty lines of a store that is gone
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=PATIENCE))
    return dist.PrefixStore(f"gendistill/{attempt}", store)


def end_with_launcher() -> None:
    """From now on take the launcher's end for a SIGTERM, which saves and stops: nobody else would end this process."""
    launcher = os.getppid()
    command_of_launcher()

    def look() -> None:
        while os.getppid() == launcher:
            time.sleep(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, name="launcher", daemon=True).start()


def require_alike(mine: Mapping[str, Any], world: int) -> None:
    """See that all processes were given the same.

    Args:
        mine: What this one was given, flat, by dotted key.
        world: How many there are; every one must call this.

    Raises:
        UserError: One was given something else than the first; in all of them, with the same words.
    """
    told = {key: repr(value) for key, value in mine.items() if key not in ALONE_MAY_DIFFER}
    first, *others = everyone(told, Circle(rank=dist.get_rank(), world=world), "control") or [told]
    for other, theirs in enumerate(others, 1):
        keys = [key for key in {**first, **theirs} if first.get(key) != theirs.get(key)]
        if keys:
            shown = ", ".join(
                f"{key} ({theirs.get(key, 'nothing')}, not {first.get(key, 'nothing')})" for key in keys[:3]
            )
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise UserError(
                f"process {other} was given something else than process 0: {shown}{more}; start all processes with the "
                "same command, on the same data"
            )
