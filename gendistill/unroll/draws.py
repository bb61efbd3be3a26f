"""What a learner draws while it trains: the same at the same step, however often the step is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gendistill.errors import UserError
from gendistill.nets.chance import Chance
from gendistill.seeds import derive_seed


class Draws:
    """Random numbers for the forward passes of one learner's training, such as dropout's, each step's from a seed.

    They come from the seed and the number of the step alone. So a step that is made again on the way back draws what
    it drew, all memory modes agree, and generators that do not belong to the training stay where they are.

    Args:
        learner: The network.
        seed: The seed; None: the learner must not draw.
        device: Where it runs.
    """

    def __init__(self, learner: object, seed: int | None, device: torch.device) -> None:
        self.learner = learner
        self.seed = seed
        self._chance = Chance(learner, device)

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Lend a training step its numbers.

        Raises:
            UserError: The learner draws, and has no seed to draw from.
        """
        if self.seed is not None:
            with self._chance.seeded(derive_seed(self.seed, f"step/{number}")):
                yield
            return
        before: list[Any] = self._chance.state()
        yield
        if self._chance.moved(before):
            self._chance.restore(before)
            raise UserError(
                f"{type(self.learner).__name__} draws random numbers while it trains (dropout, noise), and its steps "
                "could not be repeated; give unrolled_loss a seed to draw them from"
            )

    @contextmanager
    def look(self, number: int) -> Iterator[None]:
        """Lend an outer loss its numbers; without a seed it draws from where it likes, being asked only once."""
        if self.seed is None:
            yield
            return
        with self._chance.seeded(derive_seed(self.seed, f"look/{number}")):
            yield
