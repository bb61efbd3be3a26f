"""Probes: the networks in whose gradients real and generated images are compared.

A kind of probe is a class with :meth:`Probes.draw`; ``trained_probes.py`` has those that learn from real images. Its
networks, optimisers and counters are saved with the run. All of its random numbers come from the host's own stream, so
a run with a probe and a weight of 0 is bit for bit the run without it. Every process of a run has the same probes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.nets.learners import learner_for
from gendistill.objects import build
from gendistill.runs.attributes import capture, restore
from trainers.batch import Batch
from trainers.terms.term import GANHost, TermHost

Spec = Mapping[str, Any]
MODES = ("train", "eval")


class Probe(NamedTuple):
    """A network at one place in its weight space.

    Attributes:
        network: Maps images (N, C, H, W) to logits (N, K).
        parameters: Its parameters by name, requiring gradients.
        live: Whether the parameters are trained by the very loss that the probe is part of; then the real gradient
            depends on what is trained, too.
        accuracy: A running mean, in [0, 1], of its accuracy on the images that it learned from; None: it learned from
            none.
    """

    network: nn.Module
    parameters: dict[str, Tensor]
    live: bool = False
    accuracy: Tensor | None = None

    def logits(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return logits (N, K) at any parameters, leaving the network and its statistics as they are."""
        return unroll.call(self.network, parameters, images)


class Host(Protocol):
    """What probes serve: a term of a GAN, or a trainer that matches images; its draws and initial weights are used."""

    @property
    def trainer(self) -> TermHost:
        """The trainer, attached to its run and data."""

    @property
    def draws(self) -> torch.Generator:
        """The stream of :meth:`draw_any`."""

    def initialised(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which layers draw their initial weights from the run's seed, the host and ``name``."""

    def draw_any(self, count: int) -> Batch:
        """Draw ``count`` training images with repetition, normalised as the trainer's are, with the host's stream."""


class ShowingHost(Host, Protocol):
    """A host that has synthetic images of its own, with labels: its ``shown`` is not None."""

    def draw_shown(self, count: int) -> Batch:
        """Draw ``count`` of them with repetition, with the host's stream."""


class Probes(ABC):
    """A source of probes.

    Args:
        learner: The classifier, as ``class_path`` and ``init_args``; by default the data set's default learner.
        mode: ``train`` (batch norm uses the batch at hand) or ``eval`` (its running statistics).

    Raises:
        UserError: Unknown mode.
    """

    def __init__(self, learner: Spec | None = None, mode: str = "train") -> None:
        if mode not in MODES:
            raise UserError(f"a probe's mode is '{mode}'; choose one of {', '.join(MODES)}")
        self.learner = learner
        self.mode = mode
        self.count = 0
        self.members: list[Any] = []

    def attach(self, host: Host) -> None:
        """Take the host and prepare."""
        self.host = host

    @abstractmethod
    def draw(self) -> Probe:
        """Return the probe of the next loss."""

    def new(self, name: str) -> nn.Module:
        """Return a freshly initialised classifier; its weights depend on the run's seed, the host and ``name`` only."""
        description = self.host.trainer.data.description
        with self.host.initialised(f"probe/{name}"):
            network = build(
                learner_for(self.learner, description),
                nn.Module,
                num_classes=description.num_classes,
                image_shape=description.image_shape,
            )
        return self.host.trainer.place(network).train(self.mode == "train")

    def state_dict(self) -> dict[str, Any]:
        """Return the counter and what was trained."""
        return {"count": self.count, "members": capture(self.members)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back."""
        self.count = int(state["count"])
        restore(self.members, state["members"])


class Fresh(Probes):
    """A new untrained network for every loss (Bradley 2020, section 4.2)."""

    def draw(self) -> Probe:
        """Return a network nobody has seen."""
        network = self.new(str(self.count))
        self.count += 1
        return Probe(network, dict(network.named_parameters()))


class Trunk(Probes):
    """The discriminator as a classifier, so that a term on the discriminator depends on the discriminator's weights.

    The logit of class k is ``<e(k), h(x)>`` with the discriminator's own features h and embedding e: the classifier
    that a projection discriminator contains (Miyato and Koyama 2018, section 3). In the discriminator's loss the probe
    is live: both gradients depend on the weights being trained. In the generator's loss it is held still. Not in the
    thesis.

    Raises:
        UserError: At attach, when the discriminator has no ``features`` and ``embedding``.
    """

    def __init__(self) -> None:
        super().__init__()

    def attach(self, host: Host) -> None:
        """Look whether the discriminator contains a classifier."""
        super().attach(host)
        discriminator = getattr(host.trainer, "discriminator", None)
        if discriminator is None:
            raise UserError(
                f"a probe of kind 'trunk' is a discriminator's, and {type(host.trainer).__name__} has none; choose "
                "state: fresh, pool or pretrained"
            )
        if getattr(host.trainer, "packing", 1) != 1:
            raise UserError(
                "a probe of kind 'trunk' looks at images one by one, but the discriminator judges packs of them; "
                "choose state: fresh, pool or pretrained, or --trainer.packing 1"
            )
        for needed in ("features", "embedding"):
            if not hasattr(discriminator, needed):
                raise UserError(
                    f"a probe of kind 'trunk' needs a projection discriminator such as CGANPDDiscriminator; "
                    f"{type(discriminator).__name__} has no '{needed}'"
                )

    def draw(self) -> Probe:
        """Return the discriminator's classifier at its present weights."""
        network = TrunkClassifier(cast(GANHost, self.host.trainer).discriminator)
        live = any(parameter.requires_grad for parameter in network.parameters())
        parameters: dict[str, Tensor] = dict(network.named_parameters())
        if not live:
            parameters = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        return Probe(network, parameters, live)


class TrunkClassifier(nn.Module):
    """A projection discriminator's features and embedding as a classifier."""

    def __init__(self, discriminator: Any) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) for images (N, C, H, W)."""
        return F.linear(self.discriminator.features(x), self.discriminator.embedding.weight)
