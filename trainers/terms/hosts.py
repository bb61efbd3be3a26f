"""Probes for a trainer that is no GAN: where its networks come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from gendistill.errors import UserError
from trainers.batch import Batch
from trainers.real_images import any_images
from trainers.terms.term import TermHost


class TrainerHost:
    """A trainer as the host of its probes, with a random stream for them alone.

    Args:
        trainer: The trainer, inside its ``build()``.
        key: What initial weights and the stream are called after.
        shown: Draws so many of the trainer's synthetic images, as networks see them, with a generator; None: it has
            none that networks could learn from.
    """

    def __init__(
        self, trainer: TermHost, key: str, shown: Callable[[int, torch.Generator], Batch] | None = None
    ) -> None:
        self.trainer = trainer
        self.key = key
        self.shown = shown

    @property
    def draws(self) -> torch.Generator:
        """The stream of what probes draw."""
        return self.trainer.run.streams[f"{self.key}/probes"]

    def initialised(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which layers draw their initial weights from the run's seed, the key and ``name``."""
        return self.trainer.initialised(f"{self.key}/{name}")

    def draw_any(self, count: int) -> Batch:
        """Draw ``count`` training images with repetition, each as likely as any other."""
        return any_images(self.trainer, count, self.draws)

    def draw_shown(self, count: int) -> Batch:
        """Draw ``count`` synthetic images with repetition; not to be asked of a host without ``shown``."""
        assert self.shown is not None
        return self.shown(count, self.draws)


def with_learner(probe: Mapping[str, Any] | None, learner: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the spec of a source of probes with the learner put in.

    Args:
        probe: See :func:`trainers.terms.probe_kinds.make_probes`.
        learner: ``class_path`` and ``init_args``, or None.

    Raises:
        UserError: The learner is named twice.
    """
    spec = dict(probe or {})
    if learner is None or spec.get("state") == "trunk":  # a discriminator's body: there is no learner to put in
        return spec
    own = "class_path" in spec
    options = dict(spec.get("init_args") or {}) if own else spec
    if options.get("learner") is not None:
        raise UserError("the learner is named twice, in learner and in probe; leave one of them out")
    options["learner"] = dict(learner)
    return {**spec, "init_args": options} if own else options
