"""A GAN of which one block dies in a chosen way and step, for runs of several processes."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from torch import Tensor

from trainers.batch import Batch
from trainers.gan import GANTrainer


class DyingGAN(GANTrainer):
    """Dies in one process in one step, in the middle of it.

    Args:
        how: What happens; an empty one: nothing.
        at: The step, from 1.
        rank: The process.
        **kwargs: See the base class.
    """

    def __init__(self, how: str = "", at: int = 5, rank: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how, self.at, self.rank = how, at, rank

    def noise(self, *shape: int, stream: str = "noise") -> Tensor:
        """Draw noise, where there is a generator."""
        drawn = super().noise(*shape, stream=stream)
        return drawn.fill_(float("nan")) if self.die() else drawn

    def discriminator_loss(self, real: Batch, fake: Batch) -> Tensor:
        """Return the loss, where there is a discriminator."""
        return super().discriminator_loss(real, fake) * (float("nan") if self.die() else 1.0)

    def die(self) -> bool:
        """Do it where it is the time; return whether what comes is to be NaN."""
        processes = self.run.processes
        if "DIE_NOT" in os.environ or processes.number != self.rank or self.step + 1 != self.at:
            return False
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hangs":
            time.sleep(600.0)
        if self.how == "stands still":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.how == "error":
            raise RuntimeError("a bug of one's own")
        return self.how == "nan"
