"""Gradients of scores: what a server can make of one number an image.

The thesis sends "labels", which carry no gradient (Wu 2022, section 5.3). Two readings: a surrogate, which is fitted to
the scores and differentiated in the discriminator's place, and antithetic evolution strategies (Salimans et al. 2017).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.nets.modes import frozen
from gendistill.seeds import Streams
from trainers.batch import Batch

ESTIMATORS = ("surrogate", "es")


class Estimator(ABC):
    """Makes gradients with respect to images of their scores."""

    answers = 1
    """Images that are asked about, for one that is generated."""

    def asked(self, fake: Batch, streams: Streams) -> Batch:
        """Return the images whose scores are asked."""
        return fake

    @abstractmethod
    def gradient(self, fake: Batch, scores: Tensor, streams: Streams) -> Tensor:
        """Return the gradient of the generator's loss with respect to its images (B, C, H, W).

        Args:
            fake: The generated images.
            scores: Logits (answers * B,) of those that were asked about.
            streams: As they were when it was asked.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what changes."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        return


class Surrogate(Estimator):
    """A network at the server that learns the site's scores, a student of its discriminator.

    Args:
        network: Images, and labels, to logits (B, 1).
        loss: The generator's loss, of logits (B, 1).
        updates: Of the network for each round's scores.
        lr: Adam's rate.
    """

    def __init__(self, network: Any, loss: Callable[[Tensor], Tensor], updates: int, lr: float) -> None:
        self.network, self.loss, self.updates = network, loss, updates
        self.optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9))

    def _scores(self, batch: Batch) -> Tensor:
        told = () if batch.labels is None else (batch.labels,)
        scores: Tensor = self.network(batch.images, *told)
        return scores.flatten()

    def gradient(self, fake: Batch, scores: Tensor, streams: Streams) -> Tensor:
        """Fit the network to the scores, and differentiate it."""
        for _ in range(self.updates):
            self.optimizer.zero_grad(set_to_none=True)
            F.mse_loss(self._scores(fake), scores).backward()
            self.optimizer.step()
        leaf = fake.images.detach().requires_grad_()
        with frozen(self.network):
            (found,) = torch.autograd.grad(self.loss(self._scores(fake._replace(images=leaf))[:, None]), leaf)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the network and its optimiser."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


class EvolutionStrategies(Estimator):
    """Asks about each image moved one way and the other, and takes the difference along that way.

    ``g = (l(x + s e) - l(x - s e)) / (2 s) e / B`` with standard normal e: right for a smooth loss on average, and
    as noisy as an image has pixels.

    Args:
        loss: The generator's loss, of logits (B, 1), a mean over them.
        scale: s.
        limit: Images that are asked about are cut to [-limit, limit].
    """

    answers = 2

    def __init__(self, loss: Callable[[Tensor], Tensor], scale: float, limit: float) -> None:
        self.loss, self.scale, self.limit = loss, scale, limit

    def _ways(self, images: Tensor, streams: Streams) -> Tensor:
        return torch.randn(images.shape, generator=streams["strategies"], device=images.device, dtype=images.dtype)

    def asked(self, fake: Batch, streams: Streams) -> Batch:
        """Return the images moved both ways."""
        way = self.scale * self._ways(fake.images, streams)
        images = torch.cat([fake.images + way, fake.images - way]).clamp(-self.limit, self.limit)
        return Batch(images, None if fake.labels is None else torch.cat([fake.labels, fake.labels]))

    def gradient(self, fake: Batch, scores: Tensor, streams: Streams) -> Tensor:
        """Return the estimate."""
        ways = self._ways(fake.images, streams)
        losses = torch.stack([self.loss(score.view(1, 1)) for score in scores])
        ahead, behind = losses.view(2, len(fake.images))
        slope = (ahead - behind) / (2 * self.scale * len(fake.images))
        return slope.view(-1, *[1] * (ways.dim() - 1)) * ways
