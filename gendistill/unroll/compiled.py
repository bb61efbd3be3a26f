"""One step of a learner's training, and its vector-Jacobian product, as compiled functions.

A step in a graph keeps its inputs alone; what lies between is made again on the way back, inside the compiled product.
So training that is differentiated needs the memory of its states, as with ``memory="recompute"``, and less time than
with the whole graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.nets.compiled import compilable, compiled
from gendistill.unroll.learner import InnerLoss
from gendistill.unroll.rules import RULES

Step = tuple[list[Tensor], list[Tensor]]


class CompiledStep:
    """A step of SGD as a compiled function that can be differentiated once, also with respect to the learning rate.

    Args:
        learner: The network, or one like it: its weights are given at each call. One that
            :func:`gendistill.nets.compiled.compilable` says yes to.
        inner_loss: See :func:`gendistill.unroll.unrolled_loss`.
    """

    def __init__(self, learner: nn.Module, inner_loss: InnerLoss = F.cross_entropy) -> None:
        names = tuple(name for name, value in learner.named_parameters() if value.requires_grad)
        self.names = names
        rule = RULES["sgd"]

        def loss(theta: list[Tensor], images: Tensor, labels: Tensor) -> Tensor:
            given = dict(zip(names, theta, strict=True))
            return inner_loss(torch.func.functional_call(learner, given, (images,)), labels)

        def step(
            theta: list[Tensor], slots: list[Tensor], images: Tensor, labels: Tensor, rate: Tensor, momentum: Tensor
        ) -> Step:
            gradient = torch.func.grad(loss)(theta, images, labels)
            return rule.step(0, theta, slots, gradient, rate, momentum)

        def pull(
            theta: list[Tensor],
            slots: list[Tensor],
            images: Tensor,
            labels: Tensor,
            rate: Tensor,
            momentum: Tensor,
            slopes: Step,
        ) -> tuple[Any, ...]:
            if labels.is_floating_point():
                return tuple(torch.func.vjp(step, theta, slots, images, labels, rate, momentum)[1](slopes))

            def with_labels(
                theta: list[Tensor], slots: list[Tensor], images: Tensor, rate: Tensor, momentum: Tensor
            ) -> Step:
                return step(theta, slots, images, labels, rate, momentum)

            found = torch.func.vjp(with_labels, theta, slots, images, rate, momentum)[1](slopes)
            return (*found[:3], None, *found[3:])

        self.step, self.pull = compiled(step), compiled(pull)

    @classmethod
    def where(cls, learner: nn.Module, asked: bool) -> CompiledStep | None:
        """Return a compiled step where one is asked for and the learner allows it: all its parameters are trained."""
        all_trained = all(value.requires_grad for value in learner.parameters())
        return cls(learner) if asked and all_trained and compilable(learner) else None

    def __call__(
        self,
        theta: Sequence[Tensor],
        slots: Sequence[Tensor],
        images: Tensor,
        labels: Tensor,
        rate: Tensor,
        momentum: Tensor,
    ) -> Step:
        """Return new parameters and slots; see :meth:`gendistill.unroll.rules.Rule.step`."""
        # At the first step there are none. Zeros change nothing, and one form of the function does for all steps.
        slots = slots or [torch.zeros_like(value) for value in theta]
        found = _Step.apply(self, len(slots), images, labels, rate, momentum, *theta, *slots)
        return list(found[: len(self.names)]), list(found[len(self.names) :])


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, made: CompiledStep, slots: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.made, ctx.slots = made, slots
        ctx.save_for_backward(*tensors)
        theta, velocity = made.step(*_arguments(made, tensors))
        return (*theta, *velocity)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        made, count = ctx.made, len(ctx.made.names)
        ways = (list(slopes[:count]), list(slopes[count:]))
        theta, slots, images, labels, rate, momentum = made.pull(*_arguments(made, ctx.saved_tensors), ways)
        return None, None, images, labels, rate, momentum, *theta, *slots


def _arguments(made: CompiledStep, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return the arguments of a step of the tensors that are saved."""
    given = [value.detach() for value in tensors]
    count = 4 + len(made.names)
    return given[4:count], given[count:], *given[:4]
