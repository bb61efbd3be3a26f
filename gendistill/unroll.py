"""Training a learner as a differentiable function: the bilevel engine.

A learner starts at theta_0 and takes T steps of SGD with momentum on synthetic batches (torch's convention):

    g_t = d/d theta  loss(learner(X_t; theta_t), Y_t)
    v_{t+1} = mu_t v_t + g_t,    theta_{t+1} = theta_t - alpha_t v_{t+1}

An outer loss looks at the parameters after any of the steps. :func:`unrolled_loss` returns the sum of the outer losses
as a scalar that can be differentiated with respect to the images X, soft labels Y, learning rates alpha, momenta mu and
the initial parameters theta_0. The gradient is exact in both memory modes:

- ``full`` keeps the graph of all T steps; memory grows with T times one step's activations.
- ``recompute`` keeps only (theta_t, v_t) and rebuilds one step at a time on the way back. With a and w the gradients of
  the outer losses with respect to theta_{t+1} and v_{t+1}, one step backwards is

      w <- w - alpha_t a,   d alpha_t = -<a, v_{t+1}>,   d mu_t = <w, v_t>
      (d theta, d X_t, d Y_t) = gradient of <g_t(theta_t, X_t, Y_t), w>
      a <- a + d theta + d outer_t / d theta_t,   w <- mu_t w

Learners that share samples: make the images once as a leaf, call ``unrolled_loss(...).backward()`` for one learner
after another, and send the summed gradient of the images through the generator once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gendistill.errors import UserError

Parameters = dict[str, Tensor]
InnerLoss = Callable[[Tensor, Tensor], Tensor]
OuterLoss = Callable[[int, Parameters], Tensor | None]

Memory = Literal["full", "recompute"]
MEMORY_MODES: tuple[Memory, ...] = get_args(Memory)


class Unrolled(NamedTuple):
    """What came of one learner's training.

    Attributes:
        loss: Scalar, the sum of the outer losses, differentiable once.
        parameters: theta_T, detached.
    """

    loss: Tensor
    parameters: Parameters


def call(learner: nn.Module, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return the learner's output at ``parameters`` without touching the learner.

    Buffers (running statistics) are copied for the call, so that a normalisation layer in training mode uses the
    statistics of this batch and leaves nothing behind.
    """
    buffers = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    return cast(Tensor, functional_call(learner, {**buffers, **parameters}, (images,)))


def initial_parameters(learner: nn.Module) -> Parameters:
    """Return copies of the learner's trainable parameters by name, detached."""
    return {name: value.detach().clone() for name, value in learner.named_parameters() if value.requires_grad}


def unrolled_loss(
    learner: nn.Module,
    images: Tensor | Sequence[Tensor],
    labels: Tensor | Sequence[Tensor],
    learning_rates: Tensor,
    momenta: Tensor,
    outer_loss: OuterLoss,
    *,
    parameters: Parameters | None = None,
    inner_loss: InnerLoss = F.cross_entropy,
    memory: Memory = "full",
) -> Unrolled:
    """Train a learner for T steps and return the outer loss, differentiable with respect to everything it saw.

    Args:
        learner: The network; used without being changed.
        images: T batches (T, B, C, H, W), or a sequence of (B_t, C, H, W).
        labels: T batches of class indices (T, B) int64 or soft labels (T, B, K), or a sequence.
        learning_rates: (T,) step sizes.
        momenta: (T,) momenta in [0, 1); the first one multiplies a zero velocity and has no effect.
        outer_loss: Called once after each step with the number of steps done (1..T) and theta at that point; returns a
            scalar to add, or None. It must depend on nothing differentiable but theta.
        parameters: theta_0 by name; the learner's own if None. May require gradients.
        inner_loss: Scalar loss of (logits, labels) that the learner descends.
        memory: "full" or "recompute"; see the module's text.

    Returns:
        The loss and theta_T.

    Raises:
        UserError: The lengths differ, ``memory`` is unknown, or ``outer_loss`` never returned a loss.
    """
    steps = len(images)
    if not (len(labels) == len(learning_rates) == len(momenta) == steps > 0):
        raise UserError(
            f"unrolling needs as many images, labels, learning rates and momenta as steps, at least one; got {steps}, "
            f"{len(labels)}, {len(learning_rates)} and {len(momenta)}"
        )
    if memory not in MEMORY_MODES:
        raise UserError(f"memory is '{memory}'; use one of: {', '.join(MEMORY_MODES)}")
    theta = initial_parameters(learner) if parameters is None else parameters
    problem = _Problem(learner, tuple(theta), steps, outer_loss, inner_loss)
    tensors = (learning_rates, momenta, *images, *labels, *theta.values())
    if memory == "full":
        loss, final = problem.full(tensors)
    else:
        loss, *final = _Recompute.apply(problem, *tensors)
    return Unrolled(loss, dict(zip(theta, (value.detach() for value in final), strict=True)))


class _Problem:
    """One learner's training with everything that is not differentiated."""

    def __init__(
        self, learner: nn.Module, names: tuple[str, ...], steps: int, outer_loss: OuterLoss, inner_loss: InnerLoss
    ) -> None:
        self.learner = learner
        self.names = names
        self.steps = steps
        self.outer_loss = outer_loss
        self.inner_loss = inner_loss

    def split(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Undo the flattening: learning rates, momenta, images, labels, theta_0."""
        rates, momenta, *rest = tensors
        return rates, momenta, rest[: self.steps], rest[self.steps : 2 * self.steps], rest[2 * self.steps :]

    def gradient(
        self, theta: Sequence[Tensor], images: Tensor, labels: Tensor, create_graph: bool
    ) -> tuple[Tensor, ...]:
        """Return g_t; theta must require gradients. A parameter that the loss does not reach gets zeros."""
        logits = call(self.learner, dict(zip(self.names, theta, strict=True)), images)
        loss = self.inner_loss(logits, labels)
        return torch.autograd.grad(loss, list(theta), create_graph=create_graph, materialize_grads=True)

    def outer(self, step: int, theta: Sequence[Tensor]) -> Tensor | None:
        """Return the outer loss after ``step`` steps."""
        return self.outer_loss(step, dict(zip(self.names, theta, strict=True)))

    def full(self, tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Train with the graph of all steps kept."""
        rates, momenta, images, labels, initial = self.split(tensors)
        graph = torch.is_grad_enabled()
        theta = [value if value.requires_grad else value.detach().requires_grad_() for value in initial]
        velocity: list[Tensor] | None = None
        losses = []
        for t in range(self.steps):
            with torch.enable_grad():
                gradient = self.gradient(theta, images[t], labels[t], create_graph=graph)
                if velocity is None:
                    velocity = list(gradient)
                else:
                    velocity = [momenta[t] * v + g for v, g in zip(velocity, gradient, strict=True)]
                theta = [p - rates[t] * v for p, v in zip(theta, velocity, strict=True)]
                if not graph:
                    theta = [p.detach().requires_grad_() for p in theta]
                    velocity = [v.detach() for v in velocity]
            loss = self.outer(t + 1, theta)
            if loss is not None:
                losses.append(loss)
        return _total(losses), theta


class _Recompute(torch.autograd.Function):
    """The same training with a reverse sweep written by hand; one step's graph at a time."""

    @staticmethod
    def forward(ctx: Any, problem: _Problem, *tensors: Tensor) -> tuple[Tensor, ...]:
        rates, momenta, images, labels, initial = problem.split(tensors)
        theta = [value.detach() for value in initial]
        velocity = [torch.zeros_like(value) for value in theta]
        ctx.trajectory = [(theta, velocity)]
        ctx.outer_gradients = {}
        losses = []
        for t in range(problem.steps):
            with torch.enable_grad():
                leaves = [p.detach().requires_grad_() for p in theta]
                gradient = problem.gradient(leaves, images[t].detach(), labels[t].detach(), create_graph=False)
            velocity = [momenta[t] * v + g for v, g in zip(velocity, gradient, strict=True)]
            theta = [p - rates[t] * v for p, v in zip(theta, velocity, strict=True)]
            ctx.trajectory.append((theta, velocity))
            # The outer gradient is taken now: the outer loss runs once, on the batch that it chose, as in full mode.
            with torch.enable_grad():
                leaves = [p.detach().requires_grad_() for p in theta]
                loss = problem.outer(t + 1, leaves)
                if loss is not None:
                    losses.append(loss.detach())
                    ctx.outer_gradients[t + 1] = torch.autograd.grad(loss, leaves, materialize_grads=True)
        ctx.problem = problem
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*theta)
        return (_total(losses), *theta)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        problem: _Problem = ctx.problem
        rates, momenta, images, labels, initial = problem.split(ctx.saved_tensors)
        d_rates, d_momenta = torch.zeros_like(rates), torch.zeros_like(momenta)
        d_images: list[Tensor | None] = [None] * problem.steps
        d_labels: list[Tensor | None] = [None] * problem.steps
        a = [torch.zeros_like(value) for value in initial]
        w = [torch.zeros_like(value) for value in initial]
        for t in reversed(range(problem.steps)):
            if t + 1 in ctx.outer_gradients:
                a = [x + scale * g for x, g in zip(a, ctx.outer_gradients[t + 1], strict=True)]
            theta, velocity = ctx.trajectory[t]
            w = [y - rates[t] * x for x, y in zip(a, w, strict=True)]
            d_rates[t] = -_inner(a, ctx.trajectory[t + 1][1])
            d_momenta[t] = _inner(w, velocity)
            with torch.enable_grad():
                leaves = [p.detach().requires_grad_() for p in theta]
                x = images[t].detach().requires_grad_(images[t].requires_grad)
                y = labels[t].detach().requires_grad_(labels[t].requires_grad)
                gradient = problem.gradient(leaves, x, y, create_graph=True)
                wanted = [*leaves, *(value for value in (x, y) if value.requires_grad)]
                reached = [(g, y) for g, y in zip(gradient, w, strict=True) if g.requires_grad]
                outputs, cotangents = zip(*reached, strict=True)
                pulled = list(torch.autograd.grad(outputs, wanted, cotangents, materialize_grads=True))
            a = [p + q for p, q in zip(a, pulled, strict=False)]
            w = [momenta[t] * value for value in w]
            rest = pulled[len(leaves) :]
            d_images[t] = rest.pop(0) if x.requires_grad else None
            d_labels[t] = rest.pop(0) if y.requires_grad else None
        return (None, d_rates, d_momenta, *d_images, *d_labels, *a)


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(left, right, strict=True)]).sum()


def _total(losses: Sequence[Tensor]) -> Tensor:
    if not losses:
        raise UserError("the outer loss returned None after every step; return a loss after one step at least")
    return torch.stack(list(losses)).sum()
