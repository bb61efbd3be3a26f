"""Distribution matching and gradient matching: the images of each class against real ones of that class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.losses.gradient_terms import batch_gradient
from gendistill.losses.matching import gradient_distance
from trainers.batch import Batch
from trainers.latent_objectives.objective import SearchHost, by_class
from trainers.terms import feature_matching, gradient_matching
from trainers.terms.class_wise import ClassWise
from trainers.terms.probes import Probe
from trainers.terms.term import Term


class OfLatents(ClassWise):
    """A class-wise comparison with the images of the search in place of fresh samples.

    Args:
        probe: See :class:`~trainers.terms.class_wise.ClassWise`. None: the step's fresh network, shared with the other
            objectives.
        augment: See :class:`~trainers.terms.class_wise.ClassWise`.
        weight: See :class:`~trainers.terms.term.Term`.
        **kwargs: Of the comparison.

    Raises:
        UserError: An option is out of range, or a number of images is given here and not to the search.
    """

    needs: ClassVar[tuple[str, ...]] = ("shared_probe", "images_per_class", "real_batch")
    trainer: SearchHost

    def __init__(
        self,
        *,
        probe: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        augment: str | None = None,
        weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        for name, option in (("real_per_class", "real_batch"), ("generated_per_class", "images_per_class")):
            if name in kwargs:
                raise UserError(f"{name} is not an option of a latent objective; the trainer's {option} says it")
        super().__init__(probe=probe, augment=augment, weight=weight, **kwargs)
        self.shared = probe is None

    def attach(self, trainer: SearchHost) -> None:
        """Take the trainer and prepare the probes."""
        if self.shared:
            Term.attach(self, trainer)
        else:
            super().attach(trainer)

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the distance in one network, a scalar.

        Args:
            real: Real images (K * R, C, H, W), class by class.
            fake: Generated images (K * M, C, H, W), class by class.
        """
        if self.shared:
            probe: Probe = self.trainer.shared_probe()
        else:
            probe = self.probes[self.turn % len(self.probes)].draw()
            self.turn += 1
        classes = self.trainer.data.description.num_classes
        real_images, generated = self._alike(real.images, fake.images)
        return self.distance_in(probe, by_class(real_images, classes), by_class(generated, classes))


class FeatureMatching(OfLatents, feature_matching.FeatureMatching):
    """``sum_c || mean f(x_c) - mean f(G(z_c, c)) ||^2``; Eq. (6), Zhao & Bilen 2023, on latents as IT-GAN does.

    Args:
        match: See :class:`trainers.terms.feature_matching.FeatureMatching`.
        **kwargs: See :class:`OfLatents`.
    """


class GradientMatching(OfLatents, gradient_matching.ClassGradientMatching):
    """The distance of the weight gradients that real and generated images give; Zhao, Mopuri & Bilen 2021.

    Args:
        classes: ``one_by_one`` or ``at_once``; see :class:`trainers.terms.gradient_matching.ClassGradientMatching`.
        joint: Compare one gradient of all classes' images together, and not class by class.
        distance: See there.
        **kwargs: See :class:`OfLatents`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, *, classes: str = "one_by_one", joint: bool = False, **kwargs: Any) -> None:
        super().__init__(classes=classes, **kwargs)
        self.joint = joint

    def distance_in(self, probe: Probe, real: Tensor, generated: Tensor) -> Tensor:
        """Return the distance in one network."""
        if not self.joint:
            return super().distance_in(probe, real, generated)
        wanted, found = (
            batch_gradient(probe.logits, probe.parameters, images.flatten(0, 1), _labels(images), create_graph=graph)
            for images, graph in ((real, False), (generated, True))
        )
        return gradient_distance(wanted, found, self.distance)


def _labels(images: Tensor) -> Tensor:
    """Return the classes (K * M,) of images (K, M, C, H, W)."""
    return torch.arange(len(images), device=images.device).repeat_interleave(images.shape[1])
