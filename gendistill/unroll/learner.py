"""A learner as a function of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gendistill.nets.modes import resting
from gendistill.nets.statistics import statistics_with_graph

Parameters = dict[str, Tensor]
InnerLoss = Callable[[Tensor, Tensor], Tensor]
OuterLoss = Callable[[int, Parameters], Tensor | None]


def call(learner: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, *, evaluation: bool = False) -> Tensor:
    """Return the learner's output at ``parameters`` without touching the learner.

    Buffers (running statistics) that ``parameters`` does not name are the learner's own, copied for the call, so that a
    normalisation layer in training mode uses the statistics of this batch and leaves nothing behind.

    Args:
        learner: The network.
        parameters: Parameters by name, and buffers to use in place of the learner's.
        images: (B, C, H, W).
        evaluation: Call the learner as it is used after training: with running statistics, without dropout. Statistics
            among ``parameters`` then have a gradient.
    """
    buffers = {name: buffer.clone() for name, buffer in learner.named_buffers() if name not in parameters}
    if not evaluation:
        return cast(Tensor, functional_call(learner, {**buffers, **parameters}, (images,)))
    with resting(learner), statistics_with_graph(learner):
        return cast(Tensor, functional_call(learner, {**buffers, **parameters}, (images,)))


def call_and_track(
    learner: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor
) -> tuple[Tensor, Parameters]:
    """Return the learner's output and its buffers after the call, with the graph that the layers give them."""
    after = {name: buffer.clone() for name, buffer in buffers.items()}
    with statistics_with_graph(learner):
        return call_and_write(learner, parameters, after, images), after


def call_and_write(
    learner: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor
) -> Tensor:
    """Return the learner's output, and write into ``buffers`` what the call makes of them.

    Also where a layer does not write into its buffer but puts another tensor in its place.
    """

    def write(module: nn.Module, *_: object) -> None:
        for name, buffer in module.named_buffers():
            if name in buffers and buffer is not buffers[name]:
                buffers[name].copy_(buffer)

    handle = learner.register_forward_hook(write)
    try:
        return cast(Tensor, functional_call(learner, {**buffers, **parameters}, (images,)))
    finally:
        handle.remove()


def initial_parameters(learner: nn.Module) -> Parameters:
    """Return copies of the learner's trainable parameters by name, detached."""
    return {name: value.detach().clone() for name, value in learner.named_parameters() if value.requires_grad}


def autocast(images: Tensor, dtype: torch.dtype | None) -> torch.autocast | nullcontext[None]:
    """Return the context in which a learner is called: autocast to ``dtype``, or none."""
    return nullcontext() if dtype is None else torch.autocast(images.device.type, dtype=dtype)
