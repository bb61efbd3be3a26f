"""The optimiser of a latent search: any of torch's, with the constraint around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError, did_you_mean
from gendistill.objects import build, locate
from gendistill.sphere_optimizer import SphereOptimizer, check_constraint

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"class_path": "torch.optim.Adam"},
    "sgd": {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}},
}
OF_TORCH = [f"torch.optim.{name}" for name in torch.optim.__all__]
PRIOR_ONLY = ("sphere", "clip", "truncation")


def check_optimizer(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return class_path and init_args of an optimiser.

    Args:
        spec: A word of :data:`OPTIMIZERS`, or class_path and init_args of a ``torch.optim.Optimizer``.

    Raises:
        UserError: An unknown word, no optimiser, or one that needs to evaluate the loss more than once a step.
    """
    if isinstance(spec, str) and spec in OPTIMIZERS:
        return OPTIMIZERS[spec]
    if isinstance(spec, str) and "." not in spec:
        hint = did_you_mean(spec, OPTIMIZERS) or did_you_mean(f"torch.optim.{spec}", OF_TORCH)
        raise UserError(
            f"the latent optimizer is '{spec}'; {hint}choose one of {', '.join(OPTIMIZERS)}, or give the dotted path "
            "of a torch optimiser"
        )
    named = {"class_path": spec} if isinstance(spec, str) else dict(spec)
    found = locate(str(named.get("class_path", "")), torch.optim.Optimizer)
    if issubclass(found, torch.optim.LBFGS):
        raise UserError("LBFGS evaluates its loss many times a step, with a new network each; use adam or sgd")
    return named


def check_space(constraint: str, layer: str | None) -> None:
    """Refuse a constraint that belongs to the prior where a layer's features are searched, which have none.

    Raises:
        UserError: Unknown constraint, or such a one.
    """
    check_constraint(constraint)
    if layer is not None and constraint in PRIOR_ONLY:
        raise UserError(
            f"constraint '{constraint}' keeps latents where their prior is, and the features of layer '{layer}' have "
            "none; use none or l2 with a layer"
        )


def make_optimizer(
    spec: Mapping[str, Any],
    points: Tensor,
    embeddings: list[torch.nn.Parameter],
    *,
    lr: float,
    embedding_lr: float,
    constraint: str,
    **options: Any,
) -> SphereOptimizer:
    """Return the optimiser of points and class embeddings, the latter without a constraint.

    Args:
        spec: From :func:`check_optimizer`.
        points: (N, ...), a leaf.
        embeddings: May be empty.
        lr: Step size of the points, unless the spec's init_args say another one.
        embedding_lr: Step size of the embeddings.
        constraint: See :class:`~gendistill.sphere_optimizer.SphereOptimizer`.
        **options: Others of that class.
    """
    groups: list[dict[str, Any]] = [{"params": [points]}]
    if embeddings:
        groups.append({"params": embeddings, "lr": embedding_lr, "constraint": "none"})
    inner = build(spec, torch.optim.Optimizer, params=groups, lr=lr)
    return SphereOptimizer(inner, constraint, **options)
