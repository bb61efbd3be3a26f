"""Gradient penalties: of WGAN-GP, and zero-centred ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gendistill.errors import UserError


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    mix: Tensor | None = None,
    generator: torch.Generator | None = None,
    target: float = 1.0,
) -> Tensor:
    """Return ``E[(||grad D(x~)||_2 - target)^2]`` on lines between real and generated images.

    ``x~ = mix x + (1 - mix) G(z)``. Differentiable with respect to the critic's parameters. The norm is taken as
    ``sqrt(sum of squares + 1e-12)``, so that a critic with no slope gives a finite second derivative.

    Args:
        critic: Maps images (N, C, H, W) to logits (N, 1) or (N,). It must treat samples apart (no batch norm).
        real: (N, C, H, W).
        fake: (N, C, H, W); its graph is not followed.
        mix: (N,) in [0, 1], the share of the real image. Drawn from ``generator`` when not given.
        generator: Where ``mix`` is drawn from; one of the two must be given.
        target: The slope that costs nothing.

    Returns:
        A scalar.

    Raises:
        UserError: The shapes differ, or neither ``mix`` nor ``generator`` is given.

    Source:
        Eq. (3), Gulrajani et al. 2017.
    """
    if real.shape != fake.shape:
        raise UserError(f"real images {tuple(real.shape)} and fake images {tuple(fake.shape)} must have one shape")
    if mix is None:
        if generator is None:
            raise UserError("gradient_penalty draws random numbers; give it 'generator' or the numbers as 'mix'")
        mix = torch.rand(len(real), generator=generator, device=generator.device).to(real)
    weight = mix.view(-1, *[1] * (real.ndim - 1))
    between = (weight * real.detach() + (1 - weight) * fake.detach()).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    norm = (slope.flatten(1).square().sum(1) + 1e-12).sqrt()
    return (norm - target).square().mean()


def zero_centred_penalty(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return ``E[||grad D(x)||_2^2]`` at images: R1 at real ones, R2 at generated ones.

    Differentiable with respect to the critic's parameters; the loss has ``gamma / 2`` times it.

    Args:
        critic: Maps images (N, C, H, W) to logits (M, 1) or (M,), each of its own images: M is N, or N / m where m
            images are judged together, whose gradients then count as one.
        images: (N, C, H, W); their graph is not followed.

    Returns:
        A scalar.

    Source:
        Eq. (9), Mescheder, Geiger, Nowozin 2018 (R1, R2).
    """
    at = images.detach().requires_grad_(True)
    logits = critic(at)
    (slope,) = torch.autograd.grad(logits.sum(), at, create_graph=True)
    return slope.square().sum() / len(logits)
