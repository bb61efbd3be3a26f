"""Eq. (4.6) of Bradley 2020: gradient difference plus gradient magnitude, on the latents of a trained generator."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from gendistill.errors import UserError, did_you_mean
from gendistill.losses.class_gradients import class_gradient_distance, class_gradients
from gendistill.losses.gradient_terms import batch_gradient, check_grad_wrt, gradient_magnitude, gradient_projection
from gendistill.losses.matching import DISTANCES
from trainers.batch import Batch
from trainers.chunks import KEPT, rows_apart
from trainers.latent_objectives.objective import Objective, SearchHost, by_class
from trainers.terms.generated import class_by_class
from trainers.terms.gradients import SIGNS
from trainers.terms.probes import Probe


class ThesisLoss(Objective):
    """``alpha * || g(x, y) - g(G(z, y), y) || +- beta * || g(G(z, y), y) ||``, summed over classes.

    Both parts look at the same network, as the equation has one R.

    Args:
        alpha: Weight of the difference; 0 or more.
        beta: Weight of the magnitude; 0 or more, not both 0.
        sign: ``minimise`` the magnitude, as (4.6) is printed, or ``maximise`` it, as (4.5) and the text do.
        grad_wrt: ``weights`` of the network, or ``input`` as the equation is printed. The latter compares each image
            with one real image of its class.
        distance: ``l2`` (the equation), ``mse`` or ``cosine_layerwise``; see
            :func:`gendistill.losses.matching.gradient_distance`.
        normalise: Take the part of the gradient along the real one in place of its norm; with ``weights`` only.
        joint: One gradient of all classes' images together, and not one for each class.
        **kwargs: See :class:`~trainers.latent_objectives.objective.Objective`.

    Raises:
        UserError: An option is out of range.
    """

    name = "thesis"

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        sign: str = "minimise",
        grad_wrt: str = "weights",
        distance: str = "l2",
        normalise: bool = False,
        joint: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (0 <= alpha < math.inf and 0 <= beta < math.inf and alpha + beta > 0):
            raise UserError(f"alpha is {alpha} and beta {beta}; give finite numbers from 0, not both 0")
        for option, value, allowed in (("sign", sign, SIGNS), ("distance", distance, DISTANCES)):
            if value not in allowed:
                hint = did_you_mean(str(value), allowed)
                raise UserError(f"{option} is '{value}'; {hint}choose one of {', '.join(allowed)}")
        self.grad_wrt = check_grad_wrt(grad_wrt)
        if normalise and grad_wrt == "input":
            raise UserError("normalise projects on the real images' gradient; with grad_wrt: input leave it out")
        if distance == "cosine_layerwise" and grad_wrt == "input" and joint:
            raise UserError("the layer-wise cosine has no layers in pixels; take distance: l2 with grad_wrt: input")
        self.alpha, self.beta = float(alpha), float(beta) * (-1.0 if sign == "maximise" else 1.0)
        self.distance = distance
        self.normalise = normalise
        self.joint = joint

    def attach(self, trainer: SearchHost) -> None:
        """Take the trainer and see that there are real images to compare with."""
        super().attach(trainer)
        if self.grad_wrt == "input" and trainer.real_batch < trainer.images_per_class:
            raise UserError(
                f"grad_wrt: input needs a real image for each of the {trainer.images_per_class} images_per_class, but "
                f"real_batch is {trainer.real_batch}; raise it"
            )

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the loss of all classes, a scalar."""
        probe, paired = self.probe(), self._paired(real)
        if self.joint:
            found = self._gradient(probe, *fake, create_graph=True)
            wanted = self._gradient(probe, *paired, create_graph=False) if self.compares else []
            return self._value([gradient[None] for gradient in found], [gradient[None] for gradient in wanted])
        classes = self.trainer.data.description.num_classes
        shown, made = by_class(paired.images, classes), by_class(fake.images, classes)
        together = 1
        if self.grad_wrt == "input" and rows_apart(probe.network):
            # Images do not see each other, so that one pass does for several classes. Through batch norm they do.
            together = max(1, KEPT // made.shape[1])

        def of(rows: slice, own: Tensor) -> Tensor:
            wanted = self._gradients(probe, shown[rows], rows.start, create_graph=False) if self.compares else []
            return self._value(self._gradients(probe, own, rows.start, create_graph=True), wanted)

        return class_by_class(of, made, together)

    @property
    def compares(self) -> bool:
        """Whether the gradients that real images give are needed."""
        return bool(self.alpha or self.normalise)

    def _value(self, found: list[Tensor], wanted: list[Tensor]) -> Tensor:
        """Return the loss of gradients (k, ...) on generated and on real images, a row a class, summed over them."""
        parts: list[Tensor] = []
        if self.alpha:
            parts.append(self.alpha * class_gradient_distance(wanted, found, self.distance))
        if self.beta and self.normalise:
            parts.append(self.beta * cast(Tensor, torch.func.vmap(gradient_projection)(found, wanted)).sum())
        elif self.beta:
            parts.append(self.beta * cast(Tensor, torch.func.vmap(gradient_magnitude)(found)).sum())
        return torch.stack(parts).sum()

    def _paired(self, real: Batch) -> Batch:
        """Return as many real images as there are generated ones where gradients of images are compared."""
        if self.grad_wrt == "weights":
            return real
        classes, count = self.trainer.data.description.num_classes, self.trainer.images_per_class
        labels = cast(Tensor, real.labels).view(classes, -1)[:, :count].flatten()
        return Batch(by_class(real.images, classes)[:, :count].flatten(0, 1), labels)

    def _gradients(self, probe: Probe, images: Tensor, first_class: int, create_graph: bool) -> list[Tensor]:
        """Return gradients (k, ...) of images (k, M, C, H, W), a row a class from ``first_class`` on."""
        if self.grad_wrt == "weights":
            return class_gradients(
                probe.logits,
                probe.parameters,
                images,
                create_graph=create_graph,
                at_once=False,
                first_class=first_class,
            )
        classes, count = images.shape[:2]
        labels = torch.arange(first_class, first_class + classes, device=images.device).repeat_interleave(count)
        gradient = self._gradient(probe, images.flatten(0, 1), labels, create_graph=create_graph)[0]
        return [by_class(gradient * classes, classes)]  # of each class's mean, not of the mean over all

    def _gradient(self, probe: Probe, images: Tensor, labels: Tensor | None, create_graph: bool) -> list[Tensor]:
        """Return the gradient that one batch gives."""
        return batch_gradient(
            probe.logits,
            probe.parameters,
            images,
            cast(Tensor, labels),
            grad_wrt=self.grad_wrt,
            create_graph=create_graph,
        )
