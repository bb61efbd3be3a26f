"""What the protocol asks of the two halves of a GAN, so that it knows no method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from gendistill.data.real import RealData
from gendistill.federated.messages import Terms
from gendistill.federated.sanitise import Sanitiser
from gendistill.federated.shares import Shares
from gendistill.runs.context import RunContext
from gendistill.teacher import Teacher


class GeneratorHalf(Protocol):
    """A site's generator, at the server."""

    def fakes(self) -> tuple[Tensor, Tensor | None]:
        """Return the images of the round that the half is at, and their labels; the half stays as it is."""

    def learn(self, feedback: Tensor) -> None:
        """Take what the site answered, and go to the next round."""

    def teacher(self) -> Teacher:
        """Return what was learned so far."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes, the round included."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""


class DiscriminatorHalf(Protocol):
    """A site's discriminator, where the private images are."""

    def answer(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Learn from a round's images, and return what the discriminator then says of the last batch of them."""

    def metrics(self) -> Mapping[str, float]:
        """Return what the last round has measured, for the site's own log."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes, the round included."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""


@runtime_checkable
class Divisible(Protocol):
    """A trainer whose GAN can be divided among a server and sites.

    Attributes:
        clients: Number of sites.
        shares: How one data set is divided in a simulation.
    """

    clients: int
    shares: Shares

    def agreement(self, run: RunContext, data: RealData) -> Terms:
        """Return what both sides must agree on."""

    def generator_halves(self, run: RunContext, data: RealData, count: int) -> list[GeneratorHalf]:
        """Return the halves of a server, one a site; ``data`` are not private."""

    def discriminator_half(self, run: RunContext, data: RealData, number: int = 0) -> DiscriminatorHalf:
        """Return the half of one site, whose private images are ``data``."""

    def train_teacher(self, run: RunContext, data: RealData) -> None:
        """Train the server's own GAN, where one is needed and there is none."""

    def sanitiser(self, ledger: Path | None = None, *, begun: bool = False) -> Sanitiser | None:
        """Return what clips and noises a site's feedback; None where nothing does."""

    def honest(self) -> str:
        """Return what a site's officer is to read first: what this mode gives, and what it does not."""

    def mixed(self, halves: list[GeneratorHalf]) -> Teacher:
        """Return one teacher of all generators."""
