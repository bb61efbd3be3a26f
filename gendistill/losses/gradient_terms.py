"""What generated images teach a network, against what real ones teach it: the terms of Bradley 2020, chapter 4.

With ``R`` a classifier (the probe) and ``g(x, y)`` the gradient of its cross-entropy on images x of classes y:

    difference (4.4)    || g(x, y) - g(G(z, y), y) ||_2
    magnitude  (4.5)    || g(G(z, y), y) ||_2

The equations are printed with the gradient with respect to the images, the text describes the one with respect to the
weights of R; both are here. Only the latter compares batches of different size, and only it is what training uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.errors import UserError, did_you_mean

GRAD_WRT = ("weights", "input")

Logits = Callable[[Mapping[str, Tensor], Tensor], Tensor]


def batch_gradient(
    logits: Logits,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    grad_wrt: str = "weights",
    create_graph: bool = False,
) -> list[Tensor]:
    """Return ``g(x, y)``, the gradient of the mean cross-entropy of a batch.

    Args:
        logits: The probe: its parameters by name and images (N, C, H, W) to logits (N, K).
        parameters: The probe's parameters, each requiring gradients.
        images: (N, C, H, W).
        labels: (N,) int64 class indices.
        grad_wrt: ``weights`` or ``input``.
        create_graph: Whether the gradient can itself be differentiated.

    Returns:
        For ``weights`` one tensor for each parameter that the loss depends on; for ``input`` one (N, C, H, W).

    Raises:
        UserError: Unknown ``grad_wrt``.
    """
    check_grad_wrt(grad_wrt)
    if grad_wrt == "input" and not images.requires_grad:
        images = images.detach().requires_grad_()
    loss = F.cross_entropy(logits(parameters, images), labels)
    wanted = [images] if grad_wrt == "input" else list(parameters.values())
    gradients = torch.autograd.grad(loss, wanted, create_graph=create_graph, allow_unused=True)
    return [gradient for gradient in gradients if gradient is not None]


def check_grad_wrt(grad_wrt: str) -> str:
    """Return ``grad_wrt`` itself if it is a known one.

    Raises:
        UserError: It is not.
    """
    if grad_wrt not in GRAD_WRT:
        hint = did_you_mean(grad_wrt, GRAD_WRT)
        raise UserError(f"grad_wrt is '{grad_wrt}'; {hint}choose one of {', '.join(GRAD_WRT)}")
    return grad_wrt


def gradient_magnitude(fake: Sequence[Tensor]) -> Tensor:
    """Return ``|| g(G(z, y), y) ||_2``, eq. (4.5) of Bradley 2020 without its weight and sign.

    Args:
        fake: The gradient on generated images, one tensor a parameter.

    Returns:
        A scalar; the gradient of its root at zero is zero.
    """
    squares = inner(fake, fake)
    return (squares + torch.finfo(squares.dtype).tiny).sqrt()


def gradient_projection(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Return ``<g_fake, g_real> / ||g_real||_2``: the part of the magnitude that points where the real gradient does.

    It equals the magnitude where both agree, and is never larger. Unlike the magnitude it does not grow when generated
    images are hard for the probe in a direction of their own, as mislabelled ones are. Not in the thesis.

    Args:
        fake: The gradient on generated images, one tensor a parameter.
        real: The gradient on real images, the same shapes.

    Returns:
        A scalar; 0 where the real gradient is zero.
    """
    return inner(fake, real) / gradient_magnitude(real)


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the sum of the products of two lists of tensors of equal shapes, a scalar."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()
