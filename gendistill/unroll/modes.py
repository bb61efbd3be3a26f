"""Ways to keep what the way back needs: the graph of all steps, or states from which the graph is rebuilt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.unroll.problem import Problem, State

Memory = Literal["full", "recompute", "sqrt"]
MEMORY_MODES: tuple[Memory, ...] = get_args(Memory)
Batches = Sequence[Tensor]


def with_graph(
    problem: Problem,
    state: State,
    start: int,
    rates: Sequence[Tensor],
    momenta: Sequence[Tensor],
    images: Batches,
    labels: Batches,
) -> tuple[Tensor, State]:
    """Train from step ``start`` on and keep the graph of all steps.

    Returns:
        The sum of the outer losses and the last state.
    """
    graph = torch.is_grad_enabled()
    theta = [value if value.requires_grad else value.detach().requires_grad_() for value in state.theta]
    state = state._replace(theta=theta)
    losses = []
    for t in range(start, len(images)):
        state = problem.step(t, state, images[t], labels[t], rates[t], momenta[t], graph=graph)
        if not graph:
            state = state.leaves()
        loss = problem.outer(t + 1, state.theta, state.buffers)
        if loss is not None:
            losses.append(loss)
    return total(losses), state


def in_segments(
    problem: Problem,
    state: State,
    start: int,
    rates: Sequence[Tensor],
    momenta: Sequence[Tensor],
    images: Batches,
    labels: Batches,
    length: int | None = None,
) -> tuple[Tensor, State]:
    """Train from step ``start`` on and keep one state a segment; see :class:`_Segments`.

    Args:
        problem: The learner's training.
        state: Its state before step ``start``; only the parameters may require gradients.
        start: The first step.
        rates: T learning rates.
        momenta: T momenta.
        images: T batches.
        labels: T batches.
        length: Batches in a segment; None: the square root of their number, rounded up.

    Returns:
        The sum of the outer losses and the last state.
    """
    count = len(images) - start
    plan = Plan(problem, state, start, count, length or math.ceil(math.sqrt(count)))
    groups = (images[start:], labels[start:], rates[start:], momenta[start:])
    seen = [value for group in groups for value in group]
    loss, *final = _Segments.apply(plan, *seen, *state.theta)
    return loss, plan.unflatten(final)


class Plan:
    """What :class:`_Segments` is told besides tensors to differentiate."""

    def __init__(self, problem: Problem, state: State, start: int, count: int, length: int) -> None:
        self.problem, self.slots, self.buffers = problem, state.slots, state.buffers
        self.start, self.count, self.length = start, count, length

    def seen(self, tensors: Sequence[Tensor], t: int) -> list[Tensor]:
        """Return images, labels, learning rate and momentum of step ``start + t``."""
        return [tensors[group * self.count + t] for group in range(4)]

    def initial(self, tensors: Sequence[Tensor]) -> State:
        """Return the first state."""
        return State(list(tensors[4 * self.count :]), self.slots, self.buffers).detached()

    def unflatten(self, tensors: Sequence[Tensor]) -> State:
        """Return the last state from its :meth:`State.tensors`."""
        cut, end = len(self.problem.names), len(tensors) - len(self.buffers)
        return State(list(tensors[:cut]), list(tensors[cut:end]), list(tensors[end:]))


class _Segments(torch.autograd.Function):
    """Training whose way back rebuilds the graph of one segment at a time, from the state at its start.

    The gradient of an outer loss with respect to the state that it looked at is taken on the way there: an outer loss
    runs once, on the batch that it chose, as with the whole graph. On the way back it enters the segment's
    vector-Jacobian product beside the gradient that comes from the steps after the segment.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.plan, ctx.starts, ctx.looks = plan, [], {}
        losses = []
        state = plan.initial(tensors)
        for t in range(plan.count):
            if t % plan.length == 0:
                ctx.starts.append(state)
            x, y, rate, momentum = (value.detach() for value in plan.seen(tensors, t))
            # The flags stay: what has a gradient in this step has one on the way back. That also goes for statistics
            # of the images themselves, and for those that this step leaves alone.
            x.requires_grad_(plan.seen(tensors, t)[0].requires_grad)
            moved = plan.problem.step(plan.start + t, state.leaves(everything=True), x, y, rate, momentum)
            state = moved.detached(keep_flags=True)
            loss, slopes = look(plan.problem, plan.start + t + 1, state)
            if loss is not None:
                losses.append(loss)
                ctx.looks[t] = slopes
        ctx.save_for_backward(*tensors)
        ctx.starts.append(state)  # the end, where the last segment leads
        final = state.detached().tensors()
        ctx.mark_non_differentiable(*final)
        return (total(losses), *final)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        tensors = ctx.saved_tensors
        gradients: list[Tensor | None] = [None] * (4 * plan.count)
        after: list[Tensor | None] = []  # the gradient with respect to the state behind the segment
        for number in reversed(range(len(ctx.starts) - 1)):
            steps = range(number * plan.length, min((number + 1) * plan.length, plan.count))
            if not after and not any(t in ctx.looks for t in steps):
                continue
            begin = state = ctx.starts[number].leaves(everything=True)
            leaves, outputs, cotangents = [], [], []
            for t in steps:
                seen = [value.detach().requires_grad_(value.requires_grad) for value in plan.seen(tensors, t)]
                leaves += seen
                state = plan.problem.step(plan.start + t, state, seen[0], seen[1], seen[2], seen[3], graph=True)
                if t in ctx.looks:
                    outputs += [*state.theta, *state.buffers]
                    cotangents += [None if gradient is None else scale * gradient for gradient in ctx.looks[t]]
            plan.problem.require_same(begin, ctx.starts[number + 1], state)
            if after:
                outputs += state.tensors()
                cotangents += after
            pulled = _pull(outputs, cotangents, [*begin.tensors(), *leaves])
            after = pulled[: len(begin.tensors())]
            for place, gradient in enumerate(pulled[len(after) :]):
                step, group = divmod(place, 4)
                gradients[group * plan.count + steps[step]] = gradient
        return (None, *gradients, *after[: len(plan.problem.names)])


def look(problem: Problem, step: int, state: State) -> tuple[Tensor | None, list[Tensor | None]]:
    """Return the outer loss after ``step`` steps and its gradient with respect to parameters and buffers, or None."""
    with torch.enable_grad():
        shown = state.leaves(everything=True)
        loss = problem.outer(step, shown.theta, shown.buffers)
        if loss is None:
            return None, []
        return loss.detach(), _pull([loss], [torch.ones_like(loss)], [*shown.theta, *shown.buffers])


def _pull(
    outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], inputs: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return the vector-Jacobian product with respect to every input, None for one that wants no gradient."""
    pairs = [
        (output, cotangent)
        for output, cotangent in zip(outputs, cotangents, strict=True)
        if cotangent is not None and output.requires_grad
    ]
    wanted = [value for value in inputs if value.requires_grad]
    values, weights = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(values, wanted, weights, materialize_grads=True))
    return [next(found) if value.requires_grad else None for value in inputs]


def total(losses: Sequence[Tensor]) -> Tensor:
    """Return the sum of the outer losses.

    Raises:
        UserError: There are none.
    """
    if not losses:
        raise UserError("the outer loss returned None after every step; return a loss after one step at least")
    return torch.stack(list(losses)).sum()
