"""Probes that learn from real images: one that was trained before the run, or a pool of all ages."""

from __future__ import annotations

from typing import Any, TypedDict, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from trainers.terms.probes import Host, Probe, Probes


class Member(TypedDict):
    """A network that is trained on real images while it serves as a probe."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    age: int


class Trained(Probes):
    """Networks that learn from real images, by SGD with momentum and the host's own draws.

    Args:
        steps: Updates, at least 1; see the subclasses.
        lr: Learning rate, positive.
        batch_size: Real images an update, at least 1.
        momentum: In [0, 1).
        **kwargs: See :class:`Probes`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self, *, steps: int = 200, lr: float = 0.01, batch_size: int = 64, momentum: float = 0.9, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if steps < 1 or batch_size < 1:
            raise UserError(f"a probe's steps and batch_size must be at least 1, got {steps} and {batch_size}")
        if lr <= 0 or not 0 <= momentum < 1:
            raise UserError(f"a probe's lr must be positive and its momentum in [0, 1), got {lr} and {momentum}")
        self.steps = steps
        self.lr = lr
        self.batch_size = batch_size
        self.momentum = momentum

    def born(self, name: str) -> Member:
        """Return a new member of age 0."""
        network = self.new(name)
        return {"network": network, "optimizer": self._optimizer(network), "age": 0}

    def teach(self, member: Member, updates: int) -> None:
        """Make updates on random real images."""
        network, optimizer = member["network"], member["optimizer"]
        network.train()
        for _ in range(updates):
            images, labels = self.host.draw_any(self.batch_size)
            loss = F.cross_entropy(network(images), cast(Tensor, labels))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        network.train(self.mode == "train")
        member["age"] += updates

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(network.parameters(), lr=self.lr, momentum=self.momentum)


class Pretrained(Trained):
    """One network, trained on real images for ``steps`` updates before the run and then left as it is."""

    def attach(self, host: Host) -> None:
        """Train the network, unless the run's saved state brings it."""
        super().attach(host)
        self.members = [self.born("pretrained")]
        if not host.trainer.run.directory.has_state:
            self.teach(self.members[0], self.steps)

    def draw(self) -> Probe:
        """Return the network."""
        network = self.members[0]["network"]
        return Probe(network, dict(network.named_parameters()))


class Pool(Trained):
    """Partly trained networks of all ages, used in turn.

    A network takes ``refresh`` updates each time its turn comes, and is replaced by a new one when it is older than
    ``steps``. At the start the ages are spread evenly from 0 to ``steps``.

    Args:
        size: Networks in the pool, at least 1.
        refresh: Updates between two uses of a network; 0 keeps the pool as it is at the start.
        **kwargs: See :class:`Trained`; ``steps`` is the highest age.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, *, size: int = 8, refresh: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size < 1 or refresh < 0:
            raise UserError(f"a pool's size must be at least 1 and its refresh at least 0, got {size} and {refresh}")
        self.size = size
        self.refresh = refresh

    def attach(self, host: Host) -> None:
        """Make the networks and bring them to their ages, unless the run's saved state brings them."""
        super().attach(host)
        self.members = [self.born(f"first/{position}") for position in range(self.size)]
        if not host.trainer.run.directory.has_state:
            for position, member in enumerate(self.members):
                self.teach(member, position * self.steps // self.size)

    def draw(self) -> Probe:
        """Return the next network of the pool, after its updates."""
        member = self.members[self.count % self.size]
        if self.count >= self.size:
            if member["age"] + self.refresh > self.steps:
                # In place: what is saved and what is used stay the same objects.
                member["network"].load_state_dict(self.new(str(self.count)).state_dict())
                member["optimizer"] = self._optimizer(member["network"])
                member["age"] = 0
            else:
                self.teach(member, self.refresh)
        self.count += 1
        return Probe(member["network"], dict(member["network"].named_parameters()))
