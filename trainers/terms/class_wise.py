"""What terms share that compare each class's real images with the same class's generated ones in probes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from gendistill.data.augment import apply, draw_parameters, parse
from gendistill.errors import UserError
from gendistill.evaluation.protocols import named_strategy
from trainers.batch import Batch
from trainers.chunks import mapped
from trainers.terms.generated import draw_generated
from trainers.terms.probe_kinds import make_probes
from trainers.terms.probes import Probe, Probes
from trainers.terms.term import GANHost, Term


class ClassWise(Term):
    """A comparison in probes of real and generated images of every class; both are this term's own draws.

    A batch in which all classes are equally frequent is needed for a class's mean to mean anything, and images of its
    own let a term be as large as it needs to be, whatever the adversarial game's batch.

    Args:
        probe: Where to compare: ``state`` (``fresh``, ``pretrained``, ``pool``) and the options of that kind, see
            :mod:`trainers.terms.probes`; or a list of these, of which every update takes the next: probes of several
            architectures.
        real_per_class: Real images of every class, at least 1; a class with fewer shows some of them again.
        generated_per_class: Generated images of every class, at least 1.
        augment: Strategy by which real and generated images are changed in the same way: ``dsa`` (siamese augmentation,
            Zhao & Bilen 2021; without ``flip`` where mirrored images are no images of the data set), names such as
            ``color_crop_cutout``, or None.
        weight: See :class:`~trainers.terms.term.Term`.

    Raises:
        UserError: An option is out of range.
    """

    needs_labels: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(
        self,
        *,
        probe: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        real_per_class: int = 32,
        generated_per_class: int = 16,
        augment: str | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        if real_per_class < 1 or generated_per_class < 1:
            raise UserError(
                f"real_per_class is {real_per_class} and generated_per_class {generated_per_class}; give whole numbers "
                "from 1"
            )
        specs = list(probe) if isinstance(probe, Sequence) else [probe]
        if not specs:
            raise UserError("probe is an empty list; name one probe, or leave it out for fresh default learners")
        self.probes: list[Probes] = [make_probes(spec) for spec in specs]
        self.real_per_class = real_per_class
        self.generated_per_class = generated_per_class
        self.augment = augment if augment == "dsa" or parse(augment) else None
        self.turn = 0

    def attach(self, trainer: Any) -> None:
        """Take the trainer and prepare the probes."""
        super().attach(trainer)
        for probes in self.probes:
            probes.attach(self)

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the distance in the next probe, a scalar.

        Args:
            real: Not used.
            fake: Not used.
        """
        probe = self.probes[self.turn % len(self.probes)].draw()
        self.turn += 1
        drawn = self.draw_real(self.real_per_class)
        made = draw_generated(
            cast(GANHost, self.trainer), self.generated_per_class, self.stream, self.seed_of("generator")
        )
        classes = self.trainer.data.description.num_classes
        real_images, generated = self._alike(drawn.images, made.images)
        return self.distance_in(probe, real_images.unflatten(0, (classes, -1)), generated.unflatten(0, (classes, -1)))

    @abstractmethod
    def distance_in(self, probe: Probe, real: Tensor, generated: Tensor) -> Tensor:
        """Return the distance, a scalar, differentiable in the generated images.

        Args:
            probe: The network.
            real: (K, R, C, H, W), row k of class k.
            generated: (K, M, C, H, W).
        """

    def _alike(self, real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
        strategy = named_strategy(self.augment, self.trainer.data.description)
        if strategy is None:
            return real, generated
        channels, height, width = real.shape[1:]
        parameters = draw_parameters(strategy, 1, (channels, height, width), self.host_stream)
        # Outside of a digit or a photograph padded by the learners' augmentation is black.
        pixels = torch.zeros(1, channels, 1, 1, device=real.device)
        black = self.trainer.normalisation.apply(pixels).flatten()
        change = partial(apply, parameters=parameters, fill=black)
        return mapped(change, real, apart=True), mapped(change, generated, apart=True)
