"""The front door of the bilevel engine: :func:`unrolled_loss`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.statistics import constant_statistics, statistics_with_graph
from gendistill.unroll.compiled import CompiledStep
from gendistill.unroll.draws import Draws
from gendistill.unroll.learner import AsFunction, InnerLoss, OuterLoss, Parameters, initial_parameters
from gendistill.unroll.modes import MEMORY_MODES, Memory, in_segments, with_graph
from gendistill.unroll.problem import Problem, State
from gendistill.unroll.replay import StepGraphs, replayed
from gendistill.unroll.rules import RULES, Optimizer
from gendistill.unroll.together import representative

__all__ = ["InnerLoss", "OuterLoss", "Unrolled", "unrolled_loss"]


class Unrolled(NamedTuple):
    """What came of one learner's training.

    Attributes:
        loss: Scalar, the sum of the outer losses, differentiable once.
        parameters: theta_T, detached.
        buffers: The learner's buffers after its last step, detached; empty unless they were asked for.
    """

    loss: Tensor
    parameters: Parameters
    buffers: Parameters


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
    optimizer: Optimizer = "sgd",
    window: int | None = None,
    buffers: bool = False,
    precision: torch.dtype | None = None,
    seed: int | None = None,
    compiled: CompiledStep | None = None,
    graphs: StepGraphs | None = None,
) -> Unrolled:
    """Train a learner for T steps and return the outer loss, differentiable with respect to everything it saw.

    Args:
        learner: The network; used without being changed.
        images: T batches (T, B, C, H, W), or a sequence of (B_t, C, H, W).
        labels: T batches of class indices (T, B) int64 or soft labels (T, B, K), or a sequence.
        learning_rates: (T,) step sizes.
        momenta: (T,) momenta in [0, 1); the first one multiplies a zero velocity and has no effect. Adam has none.
        outer_loss: Called once after each step with the number of steps done (1..T) and theta at that point; returns a
            scalar to add, or None. It must depend on nothing differentiable but what it is given.
        parameters: theta_0 by name; the learner's own if None. May require gradients.
        inner_loss: Scalar loss of (logits, labels) that the learner descends.
        memory: "full", "recompute" or "sqrt"; see the module's text.
        optimizer: "sgd" or "adam"; see :mod:`gendistill.unroll.rules`.
        window: Differentiate the last so many steps only, 1..T; None: all. ``outer_loss`` is then asked in the window
            only, and what the learner saw before has no gradient.
        buffers: Carry the learner's buffers (running statistics) along its training, and hand them to ``outer_loss``
            with the parameters. They are part of what is differentiated; see :mod:`gendistill.nets.statistics`. False:
            every call starts from the learner's own buffers.
        precision: Autocast the inner forward passes to this type; None: none.
        seed: What the learner draws in training, such as dropout's, comes from this seed and the number of the step:
            another one for every learner and every training. No generator is moved, and all memory modes draw the
            same. None: the learner must not draw.
        compiled: Makes the steps, with the gradient that they descend, in the place of ``learner`` and ``inner_loss``;
            for SGD in full precision without ``buffers``. No memory mode then keeps more than a state a step.
        graphs: Recorded steps to make the training of, which is then one of ``memory: recompute``; see
            :class:`gendistill.unroll.replay.StepGraphs`. None: steps are made by the program.

    Returns:
        The loss, theta_T and the last buffers.

    Raises:
        UserError: The lengths differ, an option is unknown or out of range, ``outer_loss`` never returned a loss, the
            learner draws random numbers and there is no seed, or it moves buffers without a graph.
    """
    steps = len(images)
    if not (len(labels) == len(learning_rates) == len(momenta) == steps > 0):
        raise UserError(
            f"unrolling needs as many images, labels, learning rates and momenta as steps, at least one; got {steps}, "
            f"{len(labels)}, {len(learning_rates)} and {len(momenta)}"
        )
    for name, given, allowed in (("memory", memory, MEMORY_MODES), ("optimizer", optimizer, get_args(Optimizer))):
        if given not in allowed:
            raise UserError(f"{name} is '{given}'; use one of: {', '.join(allowed)}")
    if window is not None and not 1 <= window <= steps:
        raise UserError(f"window is {window}; the last 1 to {steps} of {steps} steps can be differentiated")
    if compiled is not None and (optimizer != "sgd" or buffers or precision is not None):
        raise UserError("compiled steps are those of SGD in full precision without running statistics; turn them off")
    # One node instead of T that each write a gradient of the size of all steps.
    images = images.unbind() if isinstance(images, Tensor) else images
    labels = labels.unbind() if isinstance(labels, Tensor) else labels
    rate_of, momentum_of = learning_rates.unbind(), momenta.unbind()
    theta = initial_parameters(learner) if parameters is None else parameters
    if compiled is not None:
        theta = {name: theta[name] for name in compiled.names}  # in its order
    tracked = {name: value.detach() for name, value in learner.named_buffers()} if buffers else {}
    draws = Draws(learner, seed, images[0].device)
    rule = RULES[optimizer]
    problem = Problem(learner, tuple(theta), tuple(tracked), outer_loss, inner_loss, rule, precision, draws, compiled)
    state = State(list(theta.values()), [], list(tracked.values()))
    if tracked:
        _require_graph(learner, draws, images[0])
    start = 0 if window is None else steps - window
    for t in range(start):
        seen = [value[t].detach() for value in (images, labels, rate_of, momentum_of)]
        if graphs is None:
            state = problem.step(t, state.leaves(), seen[0], seen[1], seen[2], seen[3]).detached()
        else:
            state = graphs.of(problem, state, seen).forward(state, seen)
    training = (problem, state, start, rate_of, momentum_of, images, labels)
    if graphs is not None:
        loss, final = replayed(*training, graphs)
    elif memory == "full" or (compiled is not None and memory == "recompute"):
        loss, final = with_graph(*training)
    else:
        loss, final = in_segments(*training, 1 if memory == "recompute" else None)
    final = final.detached()
    return Unrolled(
        loss,
        dict(zip(theta, final.theta, strict=True)),
        dict(zip(tracked, final.buffers, strict=True)),
    )


def _require_graph(learner: nn.Module, draws: Draws, images: Tensor) -> None:
    """Refuse a learner whose running statistics a gradient would take for constants."""
    one = representative(learner)
    shown = images.detach()[0] if images.dim() > 4 else images.detach()

    def call(buffers: Parameters) -> object:
        with draws.step(0), torch.enable_grad(), statistics_with_graph(one):
            return AsFunction(one)(buffers, shown.requires_grad_())

    constant = constant_statistics(one, call)
    if constant:
        raise UserError(
            f"{type(one).__name__} moves its {', '.join(constant)} without a gradient, so that a gradient through what "
            "they are used for would be wrong; use the statistics of each batch (statistics: batch), or let the layer "
            "keep their graph where gendistill.nets.statistics.keeping_graph() says so"
        )
