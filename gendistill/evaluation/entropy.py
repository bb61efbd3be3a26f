"""How unsure a learner is of images, and latents of a generator that make it more so.

Askari-Hemmat et al. 2025, "Improving the Scaling Laws of Synthetic Data with Deliberate Practice" (arXiv 2502.15588),
steer a diffusion model by the gradient of this entropy. Here a generator's latents move on the sphere of radius sqrt(d)
(:mod:`gendistill.sphere`), on which its prior lives, or the hardest of many are taken.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gendistill import sphere

Logits = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, K) of what a generator makes of latents (N, d) and classes (N,)."""


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy (N,) in nats, from 0 to log K, of the distributions that logits (N, K) stand for.

    Its gradient by logit k is -p_k (log p_k + H).
    """
    logs = logits.log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def guided(logits: Logits, latents: Tensor, classes: Tensor, omega: float, ascents: int) -> Tensor:
    """Return latents moved along the sphere to where entropy is larger.

    Each step goes ``omega`` radii along the tangent part of the entropy's gradient, whatever its length, and back to
    the sphere: a learner that is sure has a gradient of hardly any length, and so would never be asked.

    Args:
        logits: Of the learner.
        latents: (N, d), on the sphere.
        classes: (N,).
        omega: Length of a step as a part of the radius, from 0; 0 returns ``latents`` as they are.
        ascents: Steps, from 0.
    """
    if omega == 0:
        return latents
    for _ in range(ascents):
        with torch.enable_grad():
            moving = latents.detach().requires_grad_()
            # Latents do not touch one another's entropy, so that the sum's gradient is each one's own.
            (slope,) = torch.autograd.grad(entropy(logits(moving, classes)).sum(), moving)
        slope = sphere.tangent(slope, latents)
        length = torch.linalg.vector_norm(slope, dim=-1, keepdim=True)
        step = torch.where(length > 0, slope / length, 0.0) * (omega * latents.shape[-1] ** 0.5)
        latents = torch.where(length > 0, sphere.retract(latents, step), latents)
    return latents


def hardest(logits: Logits, latents: Tensor, classes: Tensor) -> Tensor:
    """Return for each image that is wanted the latent (N, d) of largest entropy among its candidates.

    Args:
        logits: Of the learner.
        latents: (C, N, d).
        classes: (N,).
    """
    with torch.no_grad():
        score = torch.stack([entropy(logits(some, classes)) for some in latents])
    return latents[score.argmax(0), torch.arange(latents.shape[1], device=latents.device)]
