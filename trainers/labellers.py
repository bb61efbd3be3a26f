"""A network trained on the real images, which labels what learners of a teacher will be shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from torch import nn

from gendistill.data.description import Description
from gendistill.declared import read_block
from gendistill.errors import UserError
from gendistill.evaluation.ensemble import build_learner
from gendistill.evaluation.victims import trained_learners
from gendistill.nets.learners import learner_for
from gendistill.runs.counter import counter_of
from gendistill.runs.head_start import HeadStart
from gendistill.seeds import derive_seed
from gendistill.teacher import Labeller, Teacher, labelled, open_teacher
from gendistill.teacher.labeller import check_temperature
from gendistill.teacher.network import snapshot
from gendistill.teacher.stored_labels import with_stored_labels
from trainers.trainer import Trainer

Kind = TypeVar("Kind", bound=Teacher)


@dataclass
class LabellerPlan:
    """How a run's labeller is made.

    Attributes:
        learner: The network, as ``class_path`` and ``init_args``; None: the data set's default learner.
        updates: Updates on real images.
        lr: Their learning rate at the start; SGD with momentum 0.9 and a cosine.
        temperature: Of its softmax, and of learners; positive. RDED and SRe2L take 20.
        teacher: A teacher whose labeller is taken, and no network trained; None: one is trained.
        stored: Each image gets a label once, as it is, and the network is not handed over; learners are asked at a
            temperature of 1. See :func:`gendistill.teacher.stored_labels.with_stored_labels`.
        corrected: With ``stored``: where the network errs, an image keeps its own class.

    Raises:
        UserError: An option is out of range.
    """

    learner: dict[str, Any] | None = None
    updates: int = 300
    lr: float = 0.05
    temperature: float = 1.0
    teacher: str | None = None
    stored: bool = False
    corrected: bool = True
    wanted: bool = True
    _taken: Labeller | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.updates < 1 or not 0 < self.lr < math.inf:
            raise UserError(
                f"a labeller takes updates from 1 and a positive lr, got {self.updates} and {self.lr}; choose others"
            )

    @classmethod
    def of(cls, spec: Mapping[str, Any] | None, where: str = "labeller") -> Self:
        """Return what an option asks for; None: no labeller.

        Args:
            spec: Its keys and values.
            where: What it is called.

        Raises:
            UserError: An unknown key, or a value of a wrong type.
        """
        if spec is None:
            return cls(wanted=False)
        return read_block(cls, spec, where, hidden=("wanted",))

    def attach(self, trainer: Trainer) -> nn.Module | None:
        """Train the network, or take it of the teacher that is named; None where none is wanted.

        A run that is continued has its weights in its state, and gets a network to put them in.

        Args:
            trainer: Inside its ``build()``; it keeps the network as an attribute.
        """
        if not self.wanted:
            return None
        data, description = trainer.data, trainer.data.description
        if self.teacher is not None:
            found = open_teacher(self.teacher, data, device=trainer.device).labeller
            if not isinstance(found, Labeller):
                raise UserError(f"labeller.teacher is '{self.teacher}', which has no labeller; name one that has")
            self._taken = found
            return found.network
        spec = learner_for(self.learner, description)
        seed = derive_seed(trainer.run.options.seed, "labeller") >> 8
        if trainer.run.directory.has_state:
            network = build_learner(spec, description, seed).requires_grad_(False)
        else:
            made_by = {"learner": spec, "seed": seed, "updates": self.updates, "lr": self.lr}
            head = HeadStart(trainer.run, "labeller", data, made_by)
            if (kept := head.load()) is not None:
                network = build_learner(spec, description, seed).requires_grad_(False)
                network.load_state_dict(kept["weights"])
            else:
                tell = counter_of(trainer.run, "labeller", "updates")
                (trained,) = trained_learners(spec, data, [seed], updates=self.updates, lr=self.lr, progress=tell)
                network = snapshot(trained)
                head.offer(lambda: {"weights": network.state_dict()}, done=True)
        return network

    def network_of(self, network: nn.Module, description: Description) -> Labeller:
        """Return a copy of the network that :meth:`attach` gave, as one that labels.

        Args:
            network: That network.
            description: The data set, in the normalisation of the run.
        """
        return self._taken or Labeller(network, description.normalisation, temperature=self.temperature)

    def label(self, teacher: Kind, network: nn.Module | None, description: Description) -> Kind:
        """Return a teacher as it is handed over: with the labeller, with labels that it gave, or as it is.

        Args:
            teacher: What the run has made.
            network: What :meth:`attach` gave.
            description: See :meth:`network_of`.
        """
        if network is None:
            return teacher
        labeller = self.network_of(network, description)
        if not self.stored:
            return labelled(teacher, labeller)
        return with_stored_labels(teacher, labeller, temperature=self.temperature, corrected=self.corrected)
