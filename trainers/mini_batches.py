"""Which distilled images each step of a learner shows, and how they and the real ones are augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gendistill.data.augment import MODES, Parameters, draw_parameters, parse
from gendistill.data.description import Description
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.protocols import named_strategy
from gendistill.inner.shown import Showing
from gendistill.seeds import stream

NOTHING = (None, "", "none")


@dataclass(frozen=True)
class ShowingOptions:
    """What is shown of distilled images.

    Attributes:
        sets: T sets of images, of which step i shows set ``i mod T``.
        per_class: Images of each class in a set, whose images come classes in turn.
        batch_size: Images of a set that a step shows, as many of every class, drawn anew for every step; None: all.
        augment: Strategy for the distilled images, anew at every step, ``dsa`` or None; see
            :func:`gendistill.evaluation.protocols.named_strategy`.
        augment_real: The same for the real images, once a meta-step.
        mode: ``single``, ``each`` or ``all``; see :func:`gendistill.data.augment.draw_parameters`.

    Raises:
        UserError: A strategy or mode is unknown.
    """

    sets: int
    per_class: int
    batch_size: int | None
    augment: str | None
    augment_real: str | None
    mode: str

    def __post_init__(self) -> None:
        for name in (self.augment, self.augment_real):
            if name != "dsa":
                parse(name)
        if self.mode not in MODES:
            hint = did_you_mean(self.mode, MODES)
            raise UserError(f"augment_mode is '{self.mode}'; {hint}use one of: {', '.join(MODES)}")

    @property
    def as_stored(self) -> bool:
        """Whether every step shows its whole set as it is stored."""
        return self.batch_size is None and self.augment in NOTHING

    @property
    def nothing_drawn(self) -> bool:
        """Whether real images, too, are shown as they are."""
        return self.as_stored and self.augment_real in NOTHING


class MiniBatches:
    """Draws what is shown, from a stream of its own on the CPU: no draw waits for a GPU.

    Args:
        options: What is drawn from.
        description: The data set.
        seed: The run's.
        device: Where indices go.

    Raises:
        UserError: The batch cannot have as many images of every class.
    """

    def __init__(self, options: ShowingOptions, description: Description, seed: int, device: torch.device) -> None:
        self.options, self.device = options, device
        self.classes, self.shape = description.num_classes, description.image_shape
        self.size = self.classes * options.per_class
        given = options.batch_size
        if given is not None and (given % self.classes or not self.classes <= given <= self.size):
            raise UserError(
                f"inner.batch_size is {given}; give a multiple of the {self.classes} classes up to {self.size}, "
                "images_per_class of each (--trainer.inner.batch_size)"
            )
        self.strategy, self.strategy_real = (
            named_strategy(name, description) for name in (options.augment, options.augment_real)
        )
        self.generator = stream(seed, "distillation/showings")

    def draw(self, steps: int) -> list[Showing]:
        """Return what each of a learner's first steps shows, as places among all images, set after set."""
        showings = []
        for step in range(steps):
            index = self._index() + step % self.options.sets * self.size
            how = draw_parameters(self.strategy, len(index), self.shape, self.generator, mode=self.options.mode)
            showings.append((index.to(self.device, non_blocking=True), how))
        return showings

    def draw_real(self, count: int) -> Parameters:
        """Return how ``count`` real images are augmented; where they are not, nothing is drawn."""
        return draw_parameters(self.strategy_real, count, self.shape, self.generator, mode=self.options.mode)

    def _index(self) -> Tensor:
        """Return places in a set: all, or some of each class, in the set's order."""
        size = self.options.batch_size or self.size
        if size == self.size:
            return torch.arange(size)
        order = torch.rand(self.options.per_class, self.classes, generator=self.generator).argsort(0)
        chosen = order[: size // self.classes].sort(0).values
        return (chosen * self.classes + torch.arange(self.classes)).flatten()

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream is."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.generator.set_state(state["generator"].cpu())
