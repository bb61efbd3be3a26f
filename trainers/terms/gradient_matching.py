"""Each class's generated images shall give a network the gradients that its real images give: DC on a generator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gendistill.errors import UserError, did_you_mean
from gendistill.losses.class_gradients import class_gradient_distance, class_gradients
from gendistill.losses.matching import DISTANCES
from gendistill.nets.modes import writes_statistics
from trainers.terms.class_wise import ClassWise
from trainers.terms.generated import class_by_class
from trainers.terms.probes import Probe

CLASSES = ("at_once", "one_by_one")


class ClassGradientMatching(ClassWise):
    """The distance of the weight gradients that real and generated images of one class give, summed over classes.

    Algorithm 1, Zhao, Mopuri & Bilen 2021 ("Dataset Condensation with Gradient Matching"), on a generator's samples.
    The gradients on real images are of first order; those on generated images keep their graph. Compared class by
    class and, with the default distance, output unit by output unit, in probes at different stages of training.

    Args:
        distance: ``cosine_layerwise`` (DC), ``l2`` or ``mse``; see
            :func:`gendistill.losses.matching.gradient_distance`.
        classes: ``at_once`` (vectorised) or ``one_by_one``: the same numbers. On a CPU the first is faster for narrow
            networks and small images, the second for 64 channels and more at 28x28. A probe with batch norm in training
            mode is taken one by one always.
        **kwargs: See :class:`~trainers.terms.class_wise.ClassWise`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, *, distance: str = "cosine_layerwise", classes: str = "at_once", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, value, allowed in (("distance", distance, DISTANCES), ("classes", classes, CLASSES)):
            if value not in allowed:
                raise UserError(
                    f"{name} is '{value}'; {did_you_mean(value, allowed)}choose one of {', '.join(allowed)}"
                )
        self.distance = distance
        self.classes = classes

    def distance_in(self, probe: Probe, real: Tensor, generated: Tensor) -> Tensor:
        """Return the distance in one network."""
        at_once = self.classes == "at_once" and not writes_statistics(probe.network)

        def of(rows: slice, made: Tensor) -> Tensor:
            wanted, found = (
                class_gradients(
                    probe.logits,
                    probe.parameters,
                    images,
                    create_graph=graph,
                    at_once=at_once,
                    first_class=rows.start,
                )
                for images, graph in ((real[rows], False), (made, True))
            )
            return class_gradient_distance(wanted, found, self.distance)

        return of(slice(0, len(generated)), generated) if at_once else class_by_class(of, generated)
