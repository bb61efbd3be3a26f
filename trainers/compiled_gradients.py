"""The gradients of classes, and the distance between two sets of them with its own gradient, compiled.

What :mod:`gendistill.losses.class_gradients` computes; the results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.losses.class_gradients import class_gradient_distance
from gendistill.nets.compiled import compiled, known


class CompiledGradients:
    """Gradients by a network's parameters as they are when it is called.

    Args:
        network: One that :func:`gendistill.nets.compiled.compilable` says yes to.
        distance: See :func:`gendistill.losses.matching.gradient_distance`.
    """

    def __init__(self, network: nn.Module, distance: str) -> None:
        self.network = network

        def loss(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(torch.func.functional_call(network, parameters, (images,)), labels)

        def by_class(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> list[Tensor]:
            if len(images) == 1:
                found = torch.func.grad(loss)(parameters, images[0], labels[0])
                return [value[None] for value in found.values()]
            each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
            return list(each(parameters, images, labels).values())

        def apart(
            parameters: dict[str, Tensor], images: Tensor, labels: Tensor, wanted: Sequence[Tensor]
        ) -> tuple[Tensor, Tensor]:
            def distance_of(some: Tensor) -> Tensor:
                return class_gradient_distance(list(wanted), by_class(parameters, some, labels), distance)

            gradient, value = torch.func.grad_and_value(distance_of)(images)
            return value, gradient

        def of_batch(parameters: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            found: tuple[dict[str, Tensor], Tensor] = torch.func.grad_and_value(loss)(parameters, images, labels)
            return found

        self._by_class, self._apart, self._of_batch = compiled(by_class), compiled(apart), compiled(of_batch)

    def _parameters(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.network.named_parameters()}

    def of_classes(self, images: Tensor, first_class: int) -> list[Tensor]:
        """Return the gradient of each class's mean cross-entropy without a graph; see ``losses/class_gradients.py``.

        Args:
            images: (K, M, C, H, W), row k of class ``first_class + k``.
            first_class: The class of the first row.

        Returns:
            A tensor (K, ...) a parameter, without a graph.
        """
        return self._by_class(self._parameters(), images.detach(), _labels(images, first_class))

    def distance(self, wanted: Sequence[Tensor], images: Tensor, first_class: int) -> Tensor:
        """Return the distance of the gradients of images from those wanted, summed over classes.

        Args:
            wanted: What :meth:`of_classes` returns for other images.
            images: (K, M, C, H, W).
            first_class: The class of the first row.

        Returns:
            A scalar, differentiable once with respect to the images.
        """
        value, gradient = self._apart(self._parameters(), images.detach(), _labels(images, first_class), list(wanted))
        return known(value, [images], [gradient])

    def of_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the mean cross-entropy of a batch (N, C, H, W), (N,), and its gradient by each parameter."""
        gradients, value = self._of_batch(self._parameters(), images, labels)
        return value, list(gradients.values())


def _labels(images: Tensor, first_class: int) -> Tensor:
    classes = torch.arange(first_class, first_class + len(images), device=images.device)
    return classes[:, None].expand(images.shape[:2]).contiguous()
