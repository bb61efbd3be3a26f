"""The gradients that many batches give one network, all batches in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = Mapping[str, Tensor]
Logits = Callable[[Parameters, Tensor], Tensor]


def batch_gradients(
    logits: Logits,
    parameters: Parameters,
    images: Tensor,
    labels: Tensor,
    *,
    create_graph: bool,
    at_once: bool = True,
) -> list[Tensor]:
    """Return the gradient of each batch's mean cross-entropy with respect to each parameter.

    Args:
        logits: The network as a function of its parameters by name and of images (N, C, H, W); returns (N, K). With
            ``at_once`` it must not write to buffers, as batch norm in training mode does.
        parameters: By name; detached here, so that no gradient reaches them.
        images: (B, N, C, H, W).
        labels: (B, N) class indices, or (B, N, K) soft labels.
        create_graph: Whether the gradients can be differentiated with respect to images and soft labels.
        at_once: All batches in one vectorised pass; otherwise one after another, with the same results.

    Returns:
        A tensor (B, ...) a parameter, in their order. A parameter that the loss does not reach has zeros.
    """

    def loss(values: Parameters, some: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits(values, some), targets)

    if not create_graph:
        images, labels = images.detach(), labels.detach()
    if at_once:
        constants = {name: value.detach() for name, value in parameters.items()}
        # What a network draws, as dropout does, it draws for each batch anew, as one after another.
        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="different")
        found = each(constants, images, labels)
        return list(found.values())
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    rows = [
        torch.autograd.grad(
            loss(leaves, some, targets), list(leaves.values()), create_graph=create_graph, materialize_grads=True
        )
        for some, targets in zip(images, labels, strict=True)
    ]
    return [torch.stack(row) for row in zip(*rows, strict=True)]


def batch_cosines(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Return the cosine between the whole gradients of each pair of batches (B,).

    Args:
        real: A tensor (B, ...) a parameter.
        synthetic: The same, equal shapes.
    """
    left, right = (torch.cat([part.flatten(1) for part in parts], 1) for parts in (real, synthetic))
    return F.cosine_similarity(left, right, dim=1)
