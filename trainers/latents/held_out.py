"""A search judged by what it never saw, and the end of it when that no longer gets better."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.learning import learning_curve
from gendistill.losses.batch_gradients import batch_cosines
from gendistill.losses.class_gradients import class_gradients
from gendistill.runs.observe import untouched
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from gendistill.teacher import Teacher
from trainers.latent_objectives.objective import by_class
from trainers.terms.probes import Probe

CRITERIA = ("gradient_cosine", "accuracy")
PER_CLASS = 64
UPDATES = 100
LEARNERS = 3


class HeldOut:
    """What is measured every ``every`` steps.

    ``gradient_cosine``: the cosine between the gradients that real validation images and generated images of a class
    give to networks that the search never meets, averaged over classes and networks. ``accuracy``: of three fresh
    learners on the validation images after 100 updates on the generated ones. The test images are never looked at.

    Args:
        every: Steps between two looks; 0: never.
        criterion: ``gradient_cosine`` or ``accuracy``; the former is always measured.
        patience: Looks without a better value of the criterion after which the search ends; 0: it never does.
        probes: Networks for the cosine; at least 1.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, every: int = 0, criterion: str = "gradient_cosine", patience: int = 0, probes: int = 2) -> None:
        if criterion not in CRITERIA:
            hint = did_you_mean(criterion, CRITERIA)
            raise UserError(f"the criterion is '{criterion}'; {hint}choose one of {', '.join(CRITERIA)}")
        if every < 0 or patience < 0 or probes < 1:
            raise UserError(
                f"validate_every and patience must be 0 or more and held_out_probes at least 1, got {every}, "
                f"{patience} and {probes}"
            )
        if patience and not every:
            raise UserError(f"patience is {patience}, but nothing is validated; set validate_every")
        self.every = every
        self.criterion = criterion
        self.patience = patience
        self.probes = probes
        self.best: list[Tensor] = []
        self.best_value, self.looks_since, self.stopped = -math.inf, 0, False

    def prepare(
        self,
        data: RealData,
        streams: Streams,
        processes: Processes,
        make: Callable[[str], nn.Module],
        learner: Mapping[str, Any] | None,
    ) -> None:
        """Draw the real images and make the networks, from streams and names of their own.

        Args:
            data: Its validation images are used; where they lack a class, the training images.
            streams: Of the run.
            processes: Of the run, over which values are averaged.
            make: Makes a network of a name.
            learner: Spec of the learners that accuracy is measured with; None: the data set's default.
        """
        if not self.every:
            return
        classes = data.description.num_classes
        counts = torch.bincount(data.validation.labels, minlength=classes)
        split = data.validation if int(counts.min()) else data.train
        sampler = ClassSampler(split.labels, classes, data.description.class_names)
        self.index = sampler.draw(min(PER_CLASS, sampler.smallest), streams["held-out"])
        self.data, self.split, self.streams, self.processes = data, split, streams, processes
        self.learner = learner
        self.networks = [make(f"held-out/{place}") for place in range(self.probes)]

    def look(
        self, step: int, images: Callable[[], Tensor], moving: Sequence[Tensor], teacher: Callable[[], Teacher]
    ) -> dict[str, Tensor]:
        """Measure, where that is due; remember the best, and end the search when patience is over.

        Args:
            step: Steps done.
            images: Makes the images (K * M, C, H, W), class by class, normalised as the real ones.
            moving: What moves; kept where it is the best.
            teacher: Makes the teacher, where accuracy is the criterion.

        Returns:
            ``held_out/gradient_cosine`` and, if it is the criterion, ``held_out/accuracy``; nothing where none is due.
        """
        if not self.every or step % self.every:
            return {}
        with torch.no_grad():
            shown = by_class(images(), self.data.description.num_classes)
        found = {"held_out/gradient_cosine": self.cosine(shown)}
        if self.criterion == "accuracy":
            found["held_out/accuracy"] = torch.tensor(self.accuracy(teacher()), device=shown.device)
        # Rare, so that waiting for the device does not matter; the mean is the same in every process.
        value = float(self.processes.mean(found[f"held_out/{self.criterion}"][None])[0])
        self.looks_since += 1
        if value > self.best_value:
            self.best_value, self.looks_since = value, 0
            self.best = [moved.detach().clone() for moved in moving]
        self.stopped = 0 < self.patience <= self.looks_since
        return found

    def chosen(self) -> list[Tensor]:
        """Return the best that was found, with patience; else nothing."""
        return self.best if self.patience else []

    def cosine(self, generated: Tensor) -> Tensor:
        """Return the mean cosine of the gradients, a scalar in -1..1.

        Args:
            generated: (K, M, C, H, W), normalised as the real images.
        """
        found = []
        for network in self.networks:
            probe = Probe(network, dict(network.named_parameters()))
            for label, made in enumerate(generated.detach()):  # class by class: gradients are as large as the network
                real, own = (self._gradients(probe, images[None], label) for images in (self.real(label), made))
                found.append(batch_cosines(real, own))
        return torch.cat(found).mean()

    def real(self, label: int) -> Tensor:
        """Return the real images (M, C, H, W) of a class, normalised as the data set is."""
        return self.split.batch(self.index[label], self.data.description.normalisation)[0]

    def accuracy(self, teacher: Teacher) -> float:
        """Return the mean accuracy of fresh learners on the validation images."""
        # As without it: it takes no step of the run's random streams.
        with untouched((), self.streams), torch.enable_grad():
            result = learning_curve(
                teacher,
                self.data,
                learner=self.learner,
                updates=[UPDATES],
                seeds=LEARNERS,
                split="validation",
                device=self.index.device,
            )
        return float(result["accuracy"]["mean"][-1])

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far, and how long ago that was."""
        return {"best": list(self.best), "value": self.best_value, "since": self.looks_since, "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self.best = list(state["best"])
        self.best_value, self.looks_since = float(state["value"]), int(state["since"])
        self.stopped = bool(state["stopped"])

    @staticmethod
    def _gradients(probe: Probe, images: Tensor, label: int) -> list[Tensor]:
        return class_gradients(
            probe.logits, probe.parameters, images, create_graph=False, at_once=False, first_class=label
        )
