"""Any torch optimiser, kept on the sphere: tangent gradient, the optimiser's own step, projection back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from gendistill import sphere
from gendistill.errors import UserError, did_you_mean

CONSTRAINTS = ("sphere", "none", "l2", "clip", "truncation")


class SphereOptimizer(Optimizer):
    """Wraps an optimiser of latents (..., d) so that every step ends where the prior lives.

    For plain SGD the result is projected gradient descent, the same as Riemannian SGD with the projection retraction.
    For Adam and momentum the tangent projection keeps the radial part of the gradient out of their moments; moments are
    not transported along the sphere, since measured against the exponential map with transport that gained nothing.

    It is a real ``Optimizer``: parameter groups and state are those of the wrapped one, so schedulers, ``state_dict``
    and gradient scalers work on it.

    Args:
        inner: The wrapped optimiser, without weight decay of its own.
        constraint: ``sphere``: norm sqrt(d). ``none``: free. ``l2``: a penalty ``weight_decay / 2 * |z|^2`` is added to
            the loss. ``clip``: norms above sqrt(d) are brought down to it. ``truncation``: every entry stays in
            [-truncation, truncation], the support of BigGAN's truncated prior (Brock et al. 2019). A parameter group
            may name another one under the key ``constraint``, such as ``none`` for what is no latent.
        weight_decay: Strength of the penalty of ``l2``; 0 or more.
        radius: Radius of sphere and clipping. None: sqrt(d).
        truncation: Largest absolute entry with ``truncation``; positive.

    Raises:
        UserError: Unknown constraint, negative weight decay, truncation that is not positive, or a latent that cannot
            be put on the sphere.
    """

    def __init__(
        self,
        inner: Optimizer,
        constraint: str = "sphere",
        *,
        weight_decay: float = 1e-3,
        radius: float | None = None,
        truncation: float = 2.0,
    ) -> None:
        for given in (constraint, *(group.get("constraint", constraint) for group in inner.param_groups)):
            check_constraint(given)
        if weight_decay < 0:
            raise UserError(f"weight decay of latents is {weight_decay}; give 0 or more")
        if truncation <= 0:
            raise UserError(f"truncation of latents is {truncation}; give a positive number")
        super().__init__(inner.param_groups, inner.defaults)
        self.inner = inner
        self.constraint = constraint
        self.weight_decay = weight_decay
        self.radius = radius
        self.truncation = truncation
        self._share()
        with torch.no_grad():
            for latent, kind in self._latents():
                # Only here may a latent be zero, so only here is it looked at, which waits for a GPU.
                self._return(latent, kind, check=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Args:
            closure: Computes the loss and its gradients anew; optional.

        Returns:
            What the closure returned, else None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = [(latent, kind) for latent, kind in self._latents() if latent.grad is not None]
        for latent, kind in moving:
            assert latent.grad is not None
            if kind == "sphere":
                latent.grad.copy_(sphere.tangent(latent.grad, latent))
            elif kind == "l2":
                latent.grad.add_(latent, alpha=self.weight_decay)
        self.inner.step()
        for latent, kind in moving:
            self._return(latent, kind)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the wrapped optimiser's state."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the wrapped optimiser back to a state."""
        self.inner.load_state_dict(state_dict)
        self._share()

    def _return(self, latent: torch.Tensor, kind: str, check: bool = False) -> None:
        """Bring a latent back to where its constraint wants it, in place."""
        if kind == "sphere":
            latent.copy_(sphere.project(latent, self.radius, check=check))
        elif kind == "clip":
            latent.copy_(sphere.clip(latent, self.radius))
        elif kind == "truncation":
            latent.clamp_(-self.truncation, self.truncation)

    def _share(self) -> None:
        # The same objects, not copies: a scheduler that changes lr here changes it in the wrapped optimiser.
        self.param_groups = self.inner.param_groups
        self.state = self.inner.state
        self.defaults = self.inner.defaults

    def _latents(self) -> list[tuple[torch.Tensor, str]]:
        """Return every latent with its group's constraint."""
        groups = self.param_groups
        return [(latent, group.get("constraint", self.constraint)) for group in groups for latent in group["params"]]


def check_constraint(constraint: str) -> str:
    """Return a constraint itself if it is a known one.

    Raises:
        UserError: It is not.
    """
    if constraint not in CONSTRAINTS:
        raise UserError(
            f"the latent constraint is '{constraint}'; {did_you_mean(constraint, CONSTRAINTS)}choose one of "
            f"{', '.join(CONSTRAINTS)}"
        )
    return constraint
