"""Whether a network answers for each image of a batch by itself, or lets them see each other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def answers_apart(answer: Callable[[Tensor], Tensor], images: Tensor) -> bool:
    """Return whether the answer for the first image does not depend on the others.

    Args:
        answer: Maps images (N, C, H, W) to logits (N, ...); what it changes of itself stays changed.
        images: At least two, different ones.
    """
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(answer(images)[0].sum(), images)
    return not bool(gradient[1:].any())


def batch_layer(network: nn.Module) -> tuple[str, str] | None:
    """Return the name and the class of the first layer that normalises by its batch; None where none is known to."""
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) or "BatchNorm" in type(module).__name__:
            return name, type(module).__name__
    return None
