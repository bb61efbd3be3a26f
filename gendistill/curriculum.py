"""What a generator is asked for at each step of a learner's training, and how far the learner then moves.

Such et al. 2020, section 3: latents in a learned order, with a learned learning rate and momentum for each step. The
paper compares the learned order with batches whose order is shuffled, items that are shuffled over all batches, and no
curriculum at all. One class each:

- :class:`Learned`: a trained latent for every image of every step, in their order.
- :class:`Fixed`: the same, drawn once and left.
- :class:`BatchShuffled`: trained latents; the batches come in another order for every lesson.
- :class:`AllShuffled`: trained latents; every batch is drawn from all of them.
- :class:`Fresh`: new noise for every lesson.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.teacher.draw import Shuffle, lesson_index

Kind = Literal["learned", "fixed", "fresh", "batch_shuffled", "all_shuffled"]


class Lesson(NamedTuple):
    """What a learner's first n steps show.

    Attributes:
        latents: (n, B, nz).
        conditions: (n, B) int64 classes that the generator is given.
        labels: (n, B) int64 or (n, B, K) soft labels that the learner is told.
    """

    latents: Tensor
    conditions: Tensor
    labels: Tensor


class Curriculum(nn.Module, ABC):
    """Latents, labels, learning rates and momenta of T steps.

    Classes are dealt in turn, 0..K-1 and again, through all T*B images, so that every batch is balanced up to one.

    Args:
        steps: T, at least 1.
        batch_size: B, images a step, at least 2.
        nz: Length of a latent.
        num_classes: K.
        generator: Draws the latents; its device is where they live.
        learning_rate: Initial learning rate of every step; positive. Its logarithm is what is trained.
        momentum: Initial momentum of every step, in (0, 1). Its logit is what is trained.
        learn_learning_rates: Whether the learning rates are trained.
        learn_momenta: Whether the momenta are trained.
        learn_labels: Whether learners are told soft labels, one for every image, that are trained (their logits are).
        label_confidence: What a soft label gives to the image's class at the start, in (1/K, 1).

    Raises:
        UserError: An option is out of range.
    """

    shuffle: ClassVar[Shuffle] = "none"
    stream: ClassVar[str] = "order"
    """Name of the run's stream that lessons draw from."""
    labels: Tensor
    latents: Tensor | None
    label_logits: Tensor | None

    def __init__(
        self,
        steps: int,
        batch_size: int,
        nz: int,
        num_classes: int,
        generator: torch.Generator,
        *,
        learning_rate: float = 0.02,
        momentum: float = 0.5,
        learn_learning_rates: bool = True,
        learn_momenta: bool = True,
        learn_labels: bool = False,
        label_confidence: float = 0.9,
    ) -> None:
        super().__init__()
        if steps < 1 or batch_size < 2:
            raise UserError(f"a curriculum needs at least 1 step of at least 2 images, got {steps} of {batch_size}")
        if learning_rate <= 0 or not 0 < momentum < 1:
            raise UserError(
                f"learning_rate must be positive and momentum between 0 and 1, both excluded; got {learning_rate} and "
                f"{momentum}"
            )
        if not 1 / num_classes < label_confidence < 1:
            raise UserError(
                f"label_confidence is {label_confidence}; give a share above 1/{num_classes} and below 1 for the class"
            )
        self.shape = (steps, batch_size, nz)
        device = generator.device
        labels = torch.arange(steps * batch_size, device=device) % num_classes
        self.register_buffer("labels", labels.view(steps, batch_size))
        self.set_latents(generator)
        self.label_logits = None
        if learn_labels:
            self._check_labels()
            scale = math.log(label_confidence * (num_classes - 1) / (1 - label_confidence))
            self.label_logits = nn.Parameter(nn.functional.one_hot(self.labels, num_classes).float() * scale)
        rate, logit = math.log(learning_rate), math.log(momentum) - math.log1p(-momentum)
        self.log_learning_rates = nn.Parameter(torch.full((steps,), rate, device=device), learn_learning_rates)
        self.logit_momenta = nn.Parameter(torch.full((steps,), logit, device=device), learn_momenta)

    @abstractmethod
    def set_latents(self, generator: torch.Generator) -> None:
        """Make :attr:`latents`: a parameter, a buffer, or None where none are kept."""

    def _check_labels(self) -> None:
        """Raise a :class:`UserError` where no label can be kept."""

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return standard normal latents (T, B, nz) on the generator's device."""
        return torch.randn(self.shape, generator=generator, device=generator.device)

    def lesson(self, generator: torch.Generator, steps: int | None = None) -> Lesson:
        """Return what a meta-step's learners are shown, with its graph.

        Args:
            generator: Draws noise or order, where there is any to draw.
            steps: The first so many steps; None: all.
        """
        assert self.latents is not None
        labels = self.labels if self.label_logits is None else self.label_logits.softmax(-1)
        every = [self.latents, self.labels, labels]
        index = lesson_index(self.shuffle, self.labels, generator)
        if index is not None:
            index = index.to(self.labels.device, non_blocking=True)
            if self.shuffle == "all":
                every = [items.flatten(0, 1) for items in every]
            every = [items[index] for items in every]
        if steps is not None and steps < len(self.labels):
            every = [items[:steps] for items in every]
        return Lesson(*every)

    @property
    def learning_rates(self) -> Tensor:
        """(T,) learning rates."""
        return self.log_learning_rates.exp()

    @property
    def momenta(self) -> Tensor:
        """(T,) momenta."""
        return self.logit_momenta.sigmoid()

    def schedules(self) -> list[nn.Parameter]:
        """Return the trained ones among learning rates and momenta."""
        return [value for value in (self.log_learning_rates, self.logit_momenta) if value.requires_grad]

    def contents(self) -> list[nn.Parameter]:
        """Return the trained ones among latents and labels."""
        return [value for value in (self.latents, self.label_logits) if isinstance(value, nn.Parameter)]

    def stored(self) -> dict[str, Any]:
        """Return what a :class:`gendistill.teacher.GeneratorTeacher` needs to show the same."""
        if self.latents is None:
            return {}
        labels = self.labels.clone()
        told = {"labels": labels}
        if self.label_logits is not None:
            told = {"labels": self.label_logits.detach().softmax(-1), "conditions": labels}
        return {"latents": self.latents.detach().clone(), "shuffle": self.shuffle, **told}


class Learned(Curriculum):
    """Trained latents in their order: the paper's full curriculum."""

    def set_latents(self, generator: torch.Generator) -> None:
        """Draw the latents that training starts from."""
        self.latents = nn.Parameter(self.draw(generator))


class Fixed(Curriculum):
    """Latents drawn once and left; what they show is up to the generator alone."""

    def set_latents(self, generator: torch.Generator) -> None:
        """Draw the latents."""
        self.register_buffer("latents", self.draw(generator))


class BatchShuffled(Learned):
    """Trained latents whose batches come in another order for every lesson; learning rates stay with the steps."""

    shuffle: ClassVar[Shuffle] = "batches"


class AllShuffled(Learned):
    """Trained latents from all of which every batch is drawn, classes as balanced as in the other curricula."""

    shuffle: ClassVar[Shuffle] = "all"


class Fresh(Curriculum):
    """New noise for every lesson: no curriculum. Learning rates and momenta of the steps are still learned."""

    stream: ClassVar[str] = "latents"

    def set_latents(self, generator: torch.Generator) -> None:
        """Keep none."""
        self.latents = None

    def _check_labels(self) -> None:
        raise UserError("a fresh curriculum keeps no images whose labels could be learned; set learn_labels to false")

    def lesson(self, generator: torch.Generator, steps: int | None = None) -> Lesson:
        """Draw new latents for all steps; see :meth:`Curriculum.lesson`."""
        drawn = self.draw(generator)[:steps]
        return Lesson(drawn, self.labels[:steps], self.labels[:steps])


CURRICULA: dict[Kind, type[Curriculum]] = {
    "learned": Learned,
    "fixed": Fixed,
    "fresh": Fresh,
    "batch_shuffled": BatchShuffled,
    "all_shuffled": AllShuffled,
}


def make_curriculum(kind: Kind, **options: Any) -> Curriculum:
    """Return the curriculum of a kind.

    Args:
        kind: "learned", "fixed", "fresh", "batch_shuffled" or "all_shuffled".
        **options: See :class:`Curriculum`.

    Raises:
        UserError: The kind is unknown, or an option is out of range.
    """
    if kind not in CURRICULA:
        raise UserError(f"curriculum is '{kind}'; use one of: {', '.join(get_args(Kind))}")
    return CURRICULA[kind](**options)
