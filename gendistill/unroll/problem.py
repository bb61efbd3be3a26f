"""One learner's training: its state, and one step of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.exact import TwiceDifferentiable
from gendistill.nets.parts import InParts
from gendistill.unroll.compiled import CompiledStep
from gendistill.unroll.draws import Draws
from gendistill.unroll.learner import AsFunction, InnerLoss, OuterLoss, autocast, call_and_track
from gendistill.unroll.rules import Rule
from gendistill.unroll.together import representative

ROUNDING = 1e-3
"""How far the same steps made twice may lie apart, as a fraction of the way; a graph is built by other kernels."""
ROUNDING_LOW = 0.1
"""The same in lower precision."""


class State(NamedTuple):
    """All that a learner is between two steps.

    Attributes:
        theta: Parameters.
        slots: What the optimiser remembers; empty before the first step.
        buffers: Running statistics; empty where they are not tracked.
    """

    theta: list[Tensor]
    slots: list[Tensor]
    buffers: list[Tensor]

    def tensors(self) -> list[Tensor]:
        """Return all tensors in one list."""
        return [*self.theta, *self.slots, *self.buffers]

    def detached(self, keep_flags: bool = False) -> State:
        """Return the same values without a graph.

        Args:
            keep_flags: Values that would have a graph on the way back (slots always) say that they want gradients.
        """
        theta, slots, buffers = ([value.detach() for value in part] for part in self)
        if keep_flags:
            slots = [value.requires_grad_() for value in slots]
            buffers = [
                value.requires_grad_(old.requires_grad) for value, old in zip(buffers, self.buffers, strict=True)
            ]
        return State(theta, slots, buffers)

    def leaves(self, everything: bool = False) -> State:
        """Return the same values without a graph, of which the parameters want gradients.

        Args:
            everything: Slots and buffers whose flags say so want gradients too.
        """
        theta = [value.detach().requires_grad_() for value in self.theta]
        rest = ([v.detach().requires_grad_(everything and v.requires_grad) for v in part] for part in self[1:])
        return State(theta, *rest)


class Problem:
    """One learner's training with everything that is not differentiated.

    Args:
        learner: The network.
        names: Names of the parameters, in the order of :attr:`State.theta`.
        buffers: Names of the tracked buffers.
        outer_loss: See :func:`gendistill.unroll.unrolled_loss`.
        inner_loss: See there.
        rule: How the learner moves.
        precision: What the inner forward passes are autocast to.
        draws: Lends the learner its random numbers.
        compiled: Makes the steps in the learner's place.
    """

    def __init__(
        self,
        learner: nn.Module,
        names: tuple[str, ...],
        buffers: tuple[str, ...],
        outer_loss: OuterLoss,
        inner_loss: InnerLoss,
        rule: Rule,
        precision: torch.dtype | None,
        draws: Draws,
        compiled: CompiledStep | None = None,
    ) -> None:
        self.learner = learner
        self.names = names
        self.buffers = buffers
        self.outer_loss = outer_loss
        self.inner_loss = inner_loss
        self.rule = rule
        self.precision = precision
        self.draws = draws
        self.compiled = compiled
        self.function, self.own = AsFunction(learner), dict(learner.named_buffers())
        self.exact, self.in_parts = TwiceDifferentiable(representative(learner)), InParts(learner)

    def with_draws(self, draws: Draws) -> Problem:
        """Return the same training with other random numbers."""
        other = copy.copy(self)
        other.draws = draws
        return other

    def step(
        self, t: int, state: State, images: Tensor, labels: Tensor, rate: Tensor, momentum: Tensor, graph: bool = False
    ) -> State:
        """Make step ``t``; the state's parameters must require gradients.

        A parameter that the loss does not reach gets a gradient of zeros.
        """
        if self.compiled is not None:
            with torch.set_grad_enabled(graph):
                return State(*self.compiled(state.theta, state.slots, images, labels, rate, momentum), [])
        with torch.enable_grad():
            theta = dict(zip(self.names, state.theta, strict=True))
            with self.draws.step(t):
                with autocast(images, self.precision), self.exact():
                    if self.buffers:
                        kept = dict(zip(self.buffers, state.buffers, strict=True))
                        logits, kept = call_and_track(self.function, theta, kept, images)
                        buffers = list(kept.values())
                    else:
                        own = {name: buffer.clone() for name, buffer in self.own.items() if name not in theta}
                        values = {**own, **theta}
                        logits, buffers = self.in_parts(lambda some: self.function(values, some), images), []
                loss = self.inner_loss(logits if self.precision is None else logits.float(), labels)
            gradient = torch.autograd.grad(loss, state.theta, create_graph=graph, materialize_grads=True)
        with torch.set_grad_enabled(graph):
            moved, slots = self.rule.step(t, state.theta, state.slots, gradient, rate, momentum)
        return State(moved, slots, buffers)

    def require_same(self, before: State, recorded: State, repeated: State) -> None:
        """Refuse a learner that was led elsewhere when its steps were made again: the gradient would be of neither.

        On the CPU only; elsewhere the comparison would wait for the device.

        Args:
            before: Where the steps began.
            recorded: Where they led at first.
            repeated: Where they led the second time.

        Raises:
            UserError: They are further apart than rounding explains.
        """
        if recorded.theta[0].device.type != "cpu":
            return
        with torch.no_grad():
            # What the optimiser remembers is a mean of gradients. The parameters themselves say less: Adam makes full
            # steps of gradients that are rounding noise, as that of a bias before a normalisation is.
            part = 1 if recorded.slots else 0
            way = _squared_distance(recorded[part], [] if part else before.theta)
            missed = _squared_distance(recorded[part], repeated[part])
            limit = ROUNDING if self.precision is None else ROUNDING_LOW
            if missed > limit**2 * way:
                raise UserError(
                    f"{type(self.learner).__name__} does not give the same twice: it keeps something from call to call "
                    "that is neither a buffer nor a random generator; use memory: full, or make it a buffer"
                )

    def outer(self, step: int, theta: Sequence[Tensor], buffers: Sequence[Tensor]) -> Tensor | None:
        """Return the outer loss after ``step`` steps."""
        named = dict(zip(self.names, theta, strict=True)) | dict(zip(self.buffers, buffers, strict=True))
        with self.draws.look(step):
            return self.outer_loss(step, named)


def _squared_distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Return the squared distance of two lists of tensors; of one alone from zero."""
    apart = one if not other else [a - b for a, b in zip(one, other, strict=True)]
    return torch.stack([value.square().sum() for value in apart]).sum()
