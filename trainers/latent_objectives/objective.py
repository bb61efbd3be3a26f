"""The base of the objectives of a latent search: terms that look at the step's real images and its generated ones.

An objective is a :class:`~trainers.terms.term.Term` that makes no images of its own. It is called with the real batch,
``real_batch`` images of every class, and with the images of all latents, ``images_per_class`` of every class, both
class by class. So the terms of a GAN that only look at what they are given (``GradientDifference``,
``GradientMagnitude``, one of your own) are objectives as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from trainers.terms.probe_kinds import make_probes
from trainers.terms.probes import Probe
from trainers.terms.term import Term, TermHost


class SearchHost(TermHost, Protocol):
    """What objectives use of a latent search."""

    @property
    def labels(self) -> Tensor:
        """The classes (K * M,) of the images, class by class."""

    @property
    def shared_probe(self) -> Callable[[], Probe]:
        """Returns the network of this step, the same at every call."""

    @property
    def images_per_class(self) -> int:
        """M, the generated images of each class."""

    @property
    def real_batch(self) -> int:
        """Real images of each class at every step."""


class Objective(Term):
    """A term of a latent search.

    Args:
        probe: Where to look: ``state`` (``fresh``, ``pretrained``, ``pool``) and the options of that kind; see
            :mod:`trainers.terms.probes`. None: the step's own fresh network, which all such objectives share.
        weight: See :class:`~trainers.terms.term.Term`.

    Raises:
        UserError: An option is out of range.
    """

    needs_labels: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("shared_probe", "images_per_class", "real_batch")
    trainer: SearchHost

    def __init__(self, *, probe: Mapping[str, Any] | None = None, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.probes = None if probe is None else make_probes(probe)

    def attach(self, trainer: SearchHost) -> None:
        """Take the trainer and prepare the probes."""
        super().attach(trainer)
        if self.probes is not None:
            self.probes.attach(self)

    def probe(self) -> Probe:
        """Return the network of this step: the shared one, or the next of this objective's own."""
        return self.trainer.shared_probe() if self.probes is None else self.probes.draw()


class SharedProbe:
    """The network of one step, made when it is first asked for; no part of the run's state.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        self._make = make
        self._probe: Probe | None = None

    def __call__(self) -> Probe:
        """Return the same network at every call."""
        if self._probe is None:
            network = self._make()
            self._probe = Probe(network, dict(network.named_parameters()))
        return self._probe


def by_class(images: Tensor, classes: int) -> Tensor:
    """Return images (K * M, C, H, W) that come class by class as (K, M, C, H, W)."""
    return images.unflatten(0, (classes, -1))
