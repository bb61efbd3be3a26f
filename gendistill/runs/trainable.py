"""What the loop asks of a trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.grids import Grid
from gendistill.runs.context import RunContext
from gendistill.runs.processes import Processes
from gendistill.runs.watch import Watched
from gendistill.teacher import Teacher


class Trainable(Protocol):
    """What the loop asks of a trainer."""

    other_data: dict[str, dict[str, Any]]
    """What data sets besides the run's own hold, by name, from :meth:`attach` on."""

    def known_of(self, data: RealData) -> RealData:
        """Return what the run may know of its data."""

    def read(self, data: Callable[[], RealData], processes: Processes) -> RealData:
        """Return the data, read by those processes that need it."""

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data; make networks and optimisers."""

    def sharing(self) -> Processes:
        """Return the processes whose metrics of a step are averaged, this one among them."""

    def bring_together(self) -> None:
        """Bring to the main process what it saves and shows; called in every process."""

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return this process's part of the next batch."""

    def train_step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        """Make one update and return named scalars."""

    def recorded(self) -> Mapping[str, Tensor]:
        """Return what was logged beside it in that step."""

    def expected(self, steps: int) -> Mapping[str, int]:
        """Return the bytes that so many steps must send, by kind; nothing where that is not known."""

    def notes_on_length(self, step: int, before: int, now: int) -> list[str]:
        """Return what to say of a run that goes on to another number of steps than it was begun with."""

    def samples(self) -> Mapping[str, Tensor | Grid]:
        """Return picture grids by name."""

    def teacher(self) -> Teacher:
        """Return what was learned so far."""

    def measured(self) -> Mapping[str, float]:
        """Return how good it is, by name."""

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by name."""

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name."""

    def watched(self) -> Watched:
        """Return what is to be watched beside NaN."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
