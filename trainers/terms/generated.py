"""Generated images that a term orders for itself, and gradients that it has computed for them already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gendistill.nets.again import Remembered
from trainers.batch import Batch
from trainers.terms.term import GANHost


def generate(trainer: GANHost, latents: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Return the generator's images (B, C, H, W) float32 with its graph.

    The generator's batch norms use this batch's statistics, as in the trainer's own updates. Running statistics, power
    iterations and what the generator draws by itself stay those of the adversarial game, with the term or without it.

    Args:
        trainer: Whose generator to use.
        latents: (B, nz).
        labels: (B,).
        seed: What the generator draws by itself, as dropout does, comes from it.
    """
    with Remembered(trainer.generator, trainer.device).aside(seed), trainer.autocast():
        images: Tensor = trainer.generator(latents, labels)
    return images.float()


def draw_generated(trainer: GANHost, per_class: int, stream: torch.Generator, seed: int) -> Batch:
    """Generate ``per_class`` images of every class from new noise.

    Args:
        trainer: Whose generator to use.
        per_class: At least 1.
        stream: Draws the noise; on the run's device.
        seed: See :func:`generate`.

    Returns:
        Images (K * per_class, C, H, W), class by class, with the generator's graph, and their labels.
    """
    classes, nz = trainer.data.description.num_classes, trainer.generator.nz
    labels = torch.arange(classes, device=trainer.device).repeat_interleave(per_class)
    latents = torch.randn(len(labels), nz, generator=stream, device=trainer.device)
    return Batch(generate(trainer, latents, labels, seed), labels)


def carry(value: Tensor, images: Tensor, gradient: Tensor) -> Tensor:
    """Return ``value`` as a function of ``images`` with a gradient that is known already.

    Several learners look at the same images: their gradients are added up at a leaf, and pass through the generator
    once, when the trainer differentiates its whole loss.

    Args:
        value: Scalar.
        images: With the generator's graph.
        gradient: d value / d images, of their shape.
    """
    carried: Tensor = _Carry.apply(value.detach(), images, gradient.detach())
    return carried


def class_by_class(value: Callable[[slice, Tensor], Tensor], images: Tensor, together: int = 1) -> Tensor:
    """Return a sum over classes as a function of their images, with the graph of a few classes at a time.

    Args:
        value: Which classes, and their images (k, M, C, H, W) -> the sum of their values, a scalar.
        images: (K, M, C, H, W), a row a class.
        together: Classes whose graph is in memory at the same time.

    Returns:
        A scalar, differentiable once.
    """
    moved = images.requires_grad and torch.is_grad_enabled()
    total, gradient = torch.zeros((), device=images.device), torch.zeros_like(images)
    for first in range(0, len(images), together):
        rows = slice(first, min(first + together, len(images)))
        own = images.detach()[rows].requires_grad_(moved)
        found = value(rows, own)
        total = total + found.detach()
        if moved:
            with torch.autocast(images.device.type, enabled=False):  # as where a trainer differentiates its whole loss
                gradient[rows] = torch.autograd.grad(found, own)[0]
    return carry(total, images, gradient) if moved else total


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, images: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, scale * gradient, None
