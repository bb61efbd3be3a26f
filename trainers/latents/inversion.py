"""GAN inversion: the latents whose images come closest to given real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.sphere_optimizer import SphereOptimizer

STARTS = ("random", "inversion")


class Inversion:
    """Starts a search at real images, as IT-GAN does (Zhao & Bilen 2022): Adam down the squared error of the pixels.

    Args:
        steps: Steps of Adam; at least 1.
        lr: Their step size in latent units; positive.
        draws: Random latents that each image's search may start from; the best of them does. At least 1.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, steps: int = 300, lr: float = 0.1, draws: int = 4) -> None:
        if steps < 1 or draws < 1 or lr <= 0:
            raise UserError(f"inversion takes steps and draws from 1 and a positive lr, got {steps}, {draws} and {lr}")
        self.steps = steps
        self.lr = lr
        self.draws = draws

    @classmethod
    def of(cls, spec: Mapping[str, Any] | None) -> Inversion:
        """Return what ``{"steps", "lr", "draws"}`` asks for.

        Raises:
            UserError: An unknown key, or a value that is out of range.
        """
        try:
            return cls(**(spec or {}))
        except TypeError as error:
            raise UserError(f"inversion takes steps, lr and draws: {error}") from error

    def __call__(
        self,
        render: Callable[[Tensor], Tensor],
        targets: Tensor,
        draw: Callable[[], Tensor],
        constraint: str,
        **options: Any,
    ) -> Tensor:
        """Return latents (N, nz) for targets (N, C, H, W).

        Args:
            render: Maps latents (N, nz) to images like the targets, with a graph.
            targets: Real images, normalised as the generator's.
            draw: Draws N random latents.
            constraint: Where latents may lie; see :class:`~gendistill.sphere_optimizer.SphereOptimizer`.
            **options: Others of that class.
        """
        best, errors = draw(), torch.full((len(targets),), torch.inf, device=targets.device)
        for turn in range(self.draws):
            candidate = best if turn == 0 else draw()
            with torch.no_grad():
                found = _errors(render(candidate), targets)
            nearer = found < errors  # a minimum would keep NaN for good
            best = torch.where(nearer[:, None], candidate, best)
            errors = torch.where(nearer, found, errors)
        latents = best.clone().requires_grad_()
        optimizer = SphereOptimizer(torch.optim.Adam([latents], lr=self.lr), constraint, **options)
        for _ in range(self.steps):
            optimizer.zero_grad(set_to_none=True)
            _errors(render(latents), targets).sum().backward(inputs=[latents])
            optimizer.step()
        return latents.detach()


def _errors(images: Tensor, targets: Tensor) -> Tensor:
    """Return each image's mean squared error, (N,)."""
    return (images - targets).square().flatten(1).mean(1)
