"""Generated images shall teach a network what real ones teach it: gradient difference and gradient magnitude.

Equations (4.4) and (4.5) of Bradley 2020, on the network where they can act; docs/methods/gan-distillation.md tells the
finding behind the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor

from gendistill.errors import UserError, did_you_mean
from gendistill.losses.gradient_terms import (
    batch_gradient,
    check_grad_wrt,
    gradient_magnitude,
    gradient_projection,
)
from gendistill.losses.matching import DISTANCES, gradient_distance
from trainers.batch import Batch
from trainers.terms.probe_kinds import make_probes
from trainers.terms.probes import Probe
from trainers.terms.term import Term

REAL = ("matched", "batch")
SIGNS = ("minimise", "maximise")


class GradientTerm(Term):
    """The gradients of a probe's cross-entropy on real and on generated images.

    The gradient on real images is of first order only; the one on generated images keeps its graph where the images
    have one. Both are computed in float32 whatever the run's precision.

    Args:
        grad_wrt: ``weights`` of the probe (what training uses), or ``input`` as the equations are printed.
        probe: ``state`` (``fresh``, ``pretrained``, ``pool``, ``trunk``) and the options of that kind; see
            :mod:`trainers.terms.probes`.
        sign: ``minimise`` or ``maximise`` the term.
        real: ``matched``: for each generated image real ones of its class, drawn for this term (the equations have one
            y for both); ``batch``: the real batch of the step as it is.
        real_per_fake: With ``matched``, real images for each generated one, at least 1: more give a steadier target.
        **kwargs: See :class:`~trainers.terms.term.Term`.

    Raises:
        UserError: An option is out of range.
    """

    needs_labels: ClassVar[bool] = True

    def __init__(
        self,
        *,
        grad_wrt: str = "weights",
        probe: Mapping[str, Any] | None = None,
        sign: str = "minimise",
        real: str = "matched",
        real_per_fake: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for option, value, allowed in (("sign", sign, SIGNS), ("real", real, REAL)):
            if value not in allowed:
                hint = did_you_mean(str(value), allowed)
                raise UserError(f"{option} is '{value}'; {hint}choose one of {', '.join(allowed)}")
        if real_per_fake < 1:
            raise UserError(f"real_per_fake is {real_per_fake}; give a whole number from 1")
        if grad_wrt == "input" and real_per_fake != 1:
            raise UserError("gradients with respect to the input compare image with image; leave real_per_fake at 1")
        self.grad_wrt = check_grad_wrt(grad_wrt)
        self.probes = make_probes(probe)
        if sign == "maximise":
            self.weight = -self.weight
        self.real = real
        self.real_per_fake = real_per_fake

    def attach(self, trainer: Any) -> None:
        """Take the trainer and prepare the probes."""
        super().attach(trainer)
        self.probes.attach(self)

    def real_gradient(self, probe: Probe, real: Batch, fake: Batch) -> list[Tensor]:
        """Return the probe's gradient on real images; without a graph unless the probe itself is being trained."""
        if self.real == "matched":
            real = self.draw_alike(cast(Tensor, fake.labels), self.real_per_fake)
        return self._gradient(probe, real, create_graph=probe.live)

    def fake_gradient(self, probe: Probe, fake: Batch) -> list[Tensor]:
        """Return the probe's gradient on generated images, with the graph that the images or the probe have."""
        return self._gradient(probe, fake, create_graph=probe.live or fake.images.requires_grad)

    def _gradient(self, probe: Probe, batch: Batch, create_graph: bool) -> list[Tensor]:
        labels = cast(Tensor, batch.labels)
        found = batch_gradient(
            probe.logits, probe.parameters, batch.images, labels, grad_wrt=self.grad_wrt, create_graph=create_graph
        )
        # Before anything that is not linear in the batch: a distance or a norm of parts is not that of the whole.
        if self.grad_wrt == "weights":
            return self.means_over_processes(found)
        return [self.gathered(gradient / self.parts) for gradient in found]  # of the mean over all images


class GradientDifference(GradientTerm):
    """``|| g(x, y) - g(G(z, y), y) ||``, eq. (4.4) of Bradley 2020; minimised by default.

    Args:
        distance: ``cosine_layerwise``, ``l2`` (the equation) or ``mse``; see
            :func:`gendistill.losses.matching.gradient_distance`.
        **kwargs: See :class:`GradientTerm`.

    Raises:
        UserError: An option is out of range.
    """

    name = "gradient_difference"

    def __init__(self, *, distance: str = "cosine_layerwise", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if distance not in DISTANCES:
            hint = did_you_mean(distance, DISTANCES)
            raise UserError(f"the distance is '{distance}'; {hint}choose one of {', '.join(DISTANCES)}")
        self.distance = distance

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the distance of the two gradients, a scalar."""
        probe = self.probes.draw()
        return gradient_distance(self.real_gradient(probe, real, fake), self.fake_gradient(probe, fake), self.distance)


class GradientMagnitude(GradientTerm):
    """``|| g(G(z, y), y) ||``, eq. (4.5) of Bradley 2020, or its part along the real gradient; maximised by default.

    Args:
        normalise: Take ``<g_fake, g_real> / ||g_real||`` in place of the norm: a large gradient then counts only
            where real images agree with it. The norm alone is largest for images that the probe finds mislabelled.
        sign: ``maximise`` as in (4.5) or ``minimise`` as in (4.6).
        **kwargs: See :class:`GradientTerm`.

    Raises:
        UserError: An option is out of range, or ``normalise`` with gradients of the input.
    """

    name = "gradient_magnitude"

    def __init__(self, *, normalise: bool = True, sign: str = "maximise", **kwargs: Any) -> None:
        super().__init__(sign=sign, **kwargs)
        if normalise and self.grad_wrt == "input":
            raise UserError(
                "normalise projects on the gradient of real images, which says nothing about the pixels of other "
                "images; use grad_wrt: weights, or normalise: false"
            )
        self.normalise = normalise

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the norm or the projection, a scalar."""
        probe = self.probes.draw()
        gradient = self.fake_gradient(probe, fake)
        if not self.normalise:
            return gradient_magnitude(gradient)
        return gradient_projection(gradient, self.real_gradient(probe, real, fake))
