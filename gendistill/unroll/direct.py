"""A biased shortcut past the bilevel engine: what each step's batch does to that step's gradient, and nothing further.

The end of training is theta_N = theta_0 - sum_t alpha_t g_t(X_t, Y_t; theta_t). The exact gradient of a loss at theta_N
also goes through every theta_t, which the batches before t moved. Cui, Wang, Si, Hsieh 2023, "Scaling Up Dataset
Distillation to ImageNet-1K with Constant Memory" (TESLA), take each theta_t for a constant: no second derivative with
respect to parameters is needed, and only one step's activations are in memory, beside each step's theta_t and batch.
The gradient is biased, the more so the larger the rates; with one step it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.unroll.draws import Draws
from gendistill.unroll.engine import Unrolled
from gendistill.unroll.learner import InnerLoss, OuterLoss, Parameters
from gendistill.unroll.problem import Problem, State
from gendistill.unroll.rules import SGD


def direct_loss(
    learner: nn.Module,
    images: Tensor | Sequence[Tensor],
    labels: Tensor | Sequence[Tensor],
    learning_rates: Tensor,
    outer_loss: OuterLoss,
    *,
    parameters: Parameters,
    inner_loss: InnerLoss = F.cross_entropy,
    precision: torch.dtype | None = None,
    seed: int | None = None,
) -> Unrolled:
    """Train by plain SGD as :func:`gendistill.unroll.unrolled_loss` does; its value is exact, its gradient biased.

    Args:
        learner: See there, as for the arguments that follow.
        images: N batches.
        labels: N batches.
        learning_rates: (N,).
        outer_loss: Asked after the last step only; must then return a loss.
        parameters: theta_0; has no gradient.
        inner_loss: Scalar loss of (logits, labels).
        precision: Autocast the inner forward passes to this type; None: none.
        seed: What the learner draws comes from it.

    Returns:
        The loss, with a gradient for images, soft labels and rates, and theta_N.

    Raises:
        UserError: The lengths differ, there is no outer loss after the last step, or the learner draws random numbers
            and there is no seed.
    """
    count = len(images)
    if not len(labels) == len(learning_rates) == count > 0:
        raise UserError(
            "the shortcut needs as many images, labels and learning rates as steps, at least one; got "
            f"{count}, {len(labels)} and {len(learning_rates)}"
        )
    draws = Draws(learner, seed, images[0].device)
    problem = Problem(learner, tuple(parameters), (), outer_loss, inner_loss, SGD(), precision, draws)
    theta = [value.detach() for value in parameters.values()]
    loss, *final = _Direct.apply(problem, theta, *images, *labels, *learning_rates.unbind())
    return Unrolled(loss, dict(zip(parameters, final, strict=True)), {})


class _Direct(torch.autograd.Function):
    """N steps; the way back goes into each step from the outer loss's slope at the end."""

    @staticmethod
    def forward(ctx: Any, problem: Problem, theta: list[Tensor], *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(tensors) // 3
        still = torch.zeros((), device=theta[0].device, dtype=theta[0].dtype)
        state = State(theta, [], [])
        ctx.problem, ctx.count, ctx.starts, ctx.still = problem, count, [], still
        for t in range(count):
            ctx.starts.append(state)
            x, y, rate = (tensors[group * count + t].detach() for group in range(3))
            # Without what the optimiser remembers, every step is a first one: no momentum.
            state = problem.step(t, state.leaves(), x, y, rate, still).detached()._replace(slots=[])
        ctx.starts.append(state)
        with torch.enable_grad():
            end = state.leaves()
            loss = problem.outer(count, end.theta, [])
            if loss is None:
                raise UserError("the outer loss returned None after the last step; return a loss there")
            ctx.slope = torch.autograd.grad(loss, end.theta, materialize_grads=True)
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*state.theta)
        return loss.detach(), *state.theta

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        tensors, count = ctx.saved_tensors, ctx.count
        gradients: list[Tensor | None] = [None] * len(tensors)
        for t in range(count):
            places = [group * count + t for group in range(3)]
            seen = [tensors[place].detach().requires_grad_(tensors[place].requires_grad) for place in places]
            wanted = [place for place, value in zip(places, seen, strict=True) if value.requires_grad]
            if not wanted:
                continue
            moved = ctx.problem.step(t, ctx.starts[t].leaves(), *seen, ctx.still, graph=True)
            ctx.problem.require_same(ctx.starts[t], ctx.starts[t + 1], moved)
            weights = [cotangents[0] * slope for slope in ctx.slope]
            leaves = [value for value in seen if value.requires_grad]
            found = torch.autograd.grad(moved.theta, leaves, weights, materialize_grads=True)
            for place, gradient in zip(wanted, found, strict=True):
                gradients[place] = gradient
        return None, None, *gradients
