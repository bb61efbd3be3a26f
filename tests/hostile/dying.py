"""A trainer of which one process dies in a chosen way and step, for runs of several processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import torch
from torch import Tensor

from trainers.distribution_matching import DistributionMatchingTrainer


class Dying(DistributionMatchingTrainer):
    """Dies in its process ``rank`` in one step.

    Args:
        how: What happens; an empty one: nothing.
        at: The step, from 1.
        rank: The process.
        pause: Seconds that every step takes longer.
        **kwargs: See the base class.
    """

    def __init__(self, how: str = "", at: int = 5, rank: int = 1, pause: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how, self.at, self.rank, self.pause = how, at, rank, pause

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        time.sleep(self.pause)
        processes = self.run.processes
        if "DIE_NOT" in os.environ:
            return super().train_step(batch)
        if self.run.step + 1 == self.at and (processes.rank == self.rank or self.how == "all"):
            self.die()
        return super().train_step(batch)

    def die(self) -> None:
        """Do it."""
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "launcher":
            os.kill(os.getppid(), signal.SIGKILL)
            until_told()
        if self.how == "stopped":
            os.kill(os.getppid(), signal.SIGINT)
            until_told()
        if self.how == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        if self.how in ("error", "all"):
            raise RuntimeError("a bug of one's own")
        if self.how == "left":
            sys.exit(0)
        if self.how == "nan":
            with torch.no_grad():
                self.images.fill_(float("nan"))
        if self.how == "hangs":
            time.sleep(600.0)


def until_told() -> None:
    """Wait until the run has noted a signal."""
    signals: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__")  # noqa: B009 - a method of StopSignals
    while not signals.received:
        time.sleep(0.02)
