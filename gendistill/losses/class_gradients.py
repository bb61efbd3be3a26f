"""The gradients that each class of a batch gives a network, all classes in one pass, and how far two sets are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.losses.batch_gradients import Logits, Parameters, batch_gradients
from gendistill.losses.matching import gradient_distance


def class_gradients(
    logits: Logits,
    parameters: Parameters,
    images: Tensor,
    *,
    create_graph: bool,
    at_once: bool = True,
    first_class: int = 0,
) -> list[Tensor]:
    """Return the gradient of each class's mean cross-entropy with respect to each parameter.

    Args:
        logits: The network as a function of its parameters by name and of images (M, C, H, W); returns (M, K). With
            ``at_once`` it must not write to buffers, as batch norm in training mode does.
        parameters: By name; detached here, so that no gradient reaches them.
        images: (K, M, C, H, W), row k of class ``first_class + k``.
        create_graph: Whether the gradients can be differentiated with respect to the images.
        at_once: All classes in one vectorised pass; otherwise one class after another. The results are the same; which
            is faster depends on the network, the machine and the size of the images.
        first_class: The class of the first row, where only some classes are compared.

    Returns:
        A tensor (K, ...) a parameter, in their order. A parameter that the loss does not reach has zeros.
    """
    classes = torch.arange(first_class, first_class + len(images), device=images.device)
    targets = classes[:, None].expand(images.shape[:2])
    return batch_gradients(logits, parameters, images, targets, create_graph=create_graph, at_once=at_once)


def class_gradient_distance(real: list[Tensor], synthetic: list[Tensor], distance: str = "cosine_layerwise") -> Tensor:
    """Return the distance between two lists of parameter gradients, summed over classes.

    The inner sum of Algorithm 1, line 7, Zhao, Mopuri & Bilen 2021 ("Dataset Condensation with Gradient Matching"):
    classes are compared one by one, never their mean.

    Args:
        real: A tensor (K, ...) a parameter, on real data.
        synthetic: The same on synthetic data, equal shapes.
        distance: See :func:`~gendistill.losses.matching.gradient_distance`.

    Returns:
        A scalar, zero exactly when every class's gradients agree (for the cosine: in direction).

    Raises:
        UserError: Unknown distance.
    """

    def of_one_class(one: list[Tensor], other: list[Tensor]) -> Tensor:
        return gradient_distance(one, other, distance)

    distances: Tensor = torch.func.vmap(of_one_class)(real, synthetic)
    return distances.sum()
