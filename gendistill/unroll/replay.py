"""A learner's step recorded once and played again, as a CUDA graph: a GPU is then not bound by launching small kernels.

Two recordings make a training of any length: one of the way there, from a state, a batch and rates to the next state,
and one of the way back, its vector-Jacobian product. Both are those of ``memory: recompute``, in buffers that stay
where they are. The first step of a training, which has no velocity yet, is recorded apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.unroll.draws import Draws
from gendistill.unroll.modes import Batches, Plan, look, total
from gendistill.unroll.problem import Problem, State
from gendistill.unroll.rules import SGD
from gendistill.unroll.together import representative

WARM_UP = 3
"""Calls before a recording, in which libraries choose their kernels."""
KINDS = 8
"""Kinds of steps (architectures, shapes) that are kept; with more the oldest is dropped."""
Work = Callable[[], list[Tensor]]


class Recording(NamedTuple):
    """Work that can be done again at the same places.

    Attributes:
        play: Does it.
        results: Where its results are then.
    """

    play: Callable[[], Any]
    results: list[Tensor]


def on_gpu(work: Work) -> Recording:
    """Record work as a CUDA graph; it may neither read a value nor draw random numbers."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = work()
    return Recording(graph.replay, results)


def by_calling(work: Work) -> Recording:
    """Do the work by calling it again: what a recording must equal, on any device."""
    results = work()

    def play() -> None:
        for kept, value in zip(results, work(), strict=True):
            kept.copy_(value)

    return Recording(play, results)


class _NoDraws(Draws):
    """In the place of a learner's random numbers while its step is recorded, where it has none."""

    def __init__(self) -> None:
        """Take nothing."""

    @contextmanager
    def step(self, number: int) -> Any:
        """Lend nothing."""
        with nullcontext():
            yield


class _Step:
    """One kind of step, recorded.

    Args:
        problem: A learner of this kind; it is kept, and its buffers are those that every learner starts from.
        state: An example of a state.
        seen: Examples of images, labels, rate and momentum; which of them want gradients stays so.
        record: Makes recordings.
    """

    def __init__(self, problem: Problem, state: State, seen: Sequence[Tensor], record: Callable[[Work], Recording]):
        self.problem = problem.with_draws(_NoDraws())
        self.number = 1 if state.slots else 0
        self.theta, self.slots = ([value.detach().clone() for value in part] for part in state[:2])
        self.seen = [value.detach().clone() for value in seen]
        self.wanted = [value.requires_grad for value in seen]
        self.there = record(self._forward)
        self.slopes = [torch.zeros_like(value) for value in self.there.results]
        self.back = record(self._backward)

    def _state(self, wanted: bool) -> State:
        return State(
            [value.detach().requires_grad_() for value in self.theta],
            [value.detach().requires_grad_(wanted) for value in self.slots],
            [],
        )

    def _forward(self) -> list[Tensor]:
        x, y, rate, momentum = self.seen
        moved = self.problem.step(self.number, self._state(False), x, y, rate, momentum)
        return [value.detach() for value in moved.tensors()]

    def _backward(self) -> list[Tensor]:
        state = self._state(True)
        seen = [value.detach().requires_grad_(wanted) for value, wanted in zip(self.seen, self.wanted, strict=True)]
        x, y, rate, momentum = seen
        moved = self.problem.step(self.number, state, x, y, rate, momentum, graph=True)
        leaves = [*state.theta, *state.slots, *(value for value in seen if value.requires_grad)]
        outputs, slopes = moved.tensors(), self.slopes
        if moved.slots and not any(value.requires_grad for value in moved.slots):
            outputs, slopes = moved.theta, slopes[: len(moved.theta)]
        return list(torch.autograd.grad(outputs, leaves, slopes, materialize_grads=True))

    def _give(self, state: State, seen: Sequence[Tensor]) -> None:
        for place, value in zip(
            [*self.theta, *self.slots, *self.seen], [*state.theta, *state.slots, *seen], strict=True
        ):
            place.copy_(value.detach())

    def forward(self, state: State, seen: Sequence[Tensor]) -> State:
        """Return the next state, detached."""
        self._give(state, seen)
        self.there.play()
        results = [value.clone() for value in self.there.results]
        return State(results[: len(self.theta)], results[len(self.theta) :], [])

    def pull(self, state: State, seen: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the vector-Jacobian product with respect to parameters, slots, images, labels, rate and momentum."""
        self._give(state, seen)
        for place, slope in zip(self.slopes, slopes, strict=True):
            if slope is None:
                place.zero_()
            else:
                place.copy_(slope)
        self.back.play()
        found = iter([value.clone() for value in self.back.results])
        of_state: list[Tensor | None] = [next(found) for _ in (*self.theta, *self.slots)]
        return of_state + [next(found) if wanted else None for wanted in self.wanted]


class StepGraphs:
    """The recorded steps of a run, by kind of learner; made once, given to every training.

    Args:
        record: Makes recordings: :func:`by_calling`, or, where it is left out, :func:`on_gpu`.
    """

    def __init__(self, record: Callable[[Work], Recording] | None = None) -> None:
        self.record = record or on_gpu
        self._kept: dict[Any, _Step] = {}

    def __len__(self) -> int:
        """Return how many kinds of steps are recorded."""
        return len(self._kept)

    def of(self, problem: Problem, state: State, seen: Sequence[Tensor]) -> _Step:
        """Return the recorded step of this kind; recorded now when it is the first.

        Raises:
            UserError: Steps of this learner cannot be recorded.
        """
        spec = getattr(representative(problem.learner), "spec", None)
        shapes = [(tuple(value.shape), value.dtype, value.requires_grad) for value in seen]
        own = [(tuple(value.shape), value.dtype) for value in state.theta]
        learner = problem.learner if spec is None else repr(spec)
        key = (learner, bool(state.slots), problem.inner_loss, problem.precision, str(shapes), str(own))
        if key not in self._kept:
            _require_recordable(problem, state, seen)
            if len(self._kept) >= KINDS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = _Step(problem, state, seen, self.record)
        return self._kept[key]


def _require_recordable(problem: Problem, state: State, seen: Sequence[Tensor]) -> None:
    """Make one step as ever, and refuse what a recording would get wrong.

    Raises:
        UserError: The learner carries running statistics, draws random numbers or does not move by plain SGD.
    """
    name = type(representative(problem.learner)).__name__
    if problem.buffers:
        raise UserError(
            "recorded steps carry no running statistics; use statistics: batch, or set run.cuda_graphs to false"
        )
    if not isinstance(problem.rule, SGD):
        raise UserError("recorded steps are those of SGD; use optimizer: sgd, or set run.cuda_graphs to false")
    try:
        x, y, rate, momentum = (value.detach() for value in seen)
        problem.with_draws(Draws(problem.learner, None, x.device)).step(0, state.leaves(), x, y, rate, momentum)
    except UserError as error:
        raise UserError(
            f"{name} draws random numbers while it trains (dropout, noise), which a recorded step would repeat; set "
            "run.cuda_graphs to false"
        ) from error


def replayed(
    problem: Problem,
    state: State,
    start: int,
    rates: Sequence[Tensor],
    momenta: Sequence[Tensor],
    images: Batches,
    labels: Batches,
    graphs: StepGraphs,
) -> tuple[Tensor, State]:
    """Train from step ``start`` on by recorded steps; see :func:`gendistill.unroll.modes.in_segments`.

    Args:
        problem: The learner's training.
        state: Its state before step ``start``.
        start: The first step.
        rates: T learning rates.
        momenta: T momenta.
        images: T batches.
        labels: T batches.
        graphs: The recorded steps.

    Returns:
        The sum of the outer losses and the last state.

    Raises:
        UserError: Steps of this learner cannot be recorded.
    """
    plan = Plan(problem, state, start, len(images) - start, 1)
    groups = (images[start:], labels[start:], rates[start:], momenta[start:])
    seen = [value for group in groups for value in group]
    loss, *final = _Replayed.apply(plan, graphs, *seen, *state.theta)
    return loss, plan.unflatten(final)


class _Replayed(torch.autograd.Function):
    """Training by recorded steps: there with one recording a step, and back with the other."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, graphs: StepGraphs, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.plan, ctx.graphs, ctx.starts, ctx.looks = plan, graphs, [], {}
        losses = []
        state = plan.initial(tensors)
        for t in range(plan.count):
            ctx.starts.append(state)
            seen = plan.seen(tensors, t)
            state = graphs.of(plan.problem, state, seen).forward(state, seen)
            loss, slopes = look(plan.problem, plan.start + t + 1, state)
            if loss is not None:
                losses.append(loss)
                ctx.looks[t] = slopes
        ctx.save_for_backward(*tensors)
        final = state.tensors()
        ctx.mark_non_differentiable(*final)
        return (total(losses), *final)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        tensors = ctx.saved_tensors
        count = len(plan.problem.names)
        gradients: list[Tensor | None] = [None] * (4 * plan.count)
        after: list[Tensor | None] = [None] * (2 * count)  # with respect to parameters and velocities behind the step
        for t in reversed(range(plan.count)):
            if t in ctx.looks:
                added = [None if slope is None else scale * slope for slope in ctx.looks[t]]
                after = [_sum(one, other) for one, other in zip(after, [*added, *[None] * count], strict=True)]
            if all(slope is None for slope in after):
                continue
            state, seen = ctx.starts[t], plan.seen(tensors, t)
            pulled = ctx.graphs.of(plan.problem, state, seen).pull(state, seen, after)
            after = pulled[: count + len(state.slots)]
            after += [None] * (2 * count - len(after))
            for group, gradient in enumerate(pulled[-4:]):
                gradients[group * plan.count + t] = gradient
        return (None, None, *gradients, *after[:count])


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
