"""A learner as a function of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from gendistill.nets.exact import TwiceDifferentiable
from gendistill.nets.modes import resting
from gendistill.nets.parts import InParts
from gendistill.nets.statistics import statistics_with_graph

Parameters = dict[str, Tensor]
InnerLoss = Callable[[Tensor, Tensor], Tensor]
OuterLoss = Callable[[int, Parameters], Tensor | None]


class AsFunction:
    """A network called at other parameters and buffers than its own, which it gets back.

    What ``torch.func.functional_call`` does, with the places looked up once and not at every call: a third of the time
    of a small network's forward pass.

    Args:
        network: The network; its modules stay the same ones.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        # A tensor that several modules share has several names, by any of which it may be given.
        names: dict[int, list[str]] = {}
        for part in (network.named_parameters, network.named_buffers):
            for name, value in part(remove_duplicate=False):
                names.setdefault(id(value), []).append(name)
        self._places: list[tuple[dict[str, Any], str, list[str], bool]] = [
            (kept, key, names[id(value)], kept is module._buffers)
            for module in network.modules()
            for kept in (module._parameters, module._buffers)
            for key, value in kept.items()
            if value is not None
        ]

    @contextmanager
    def at(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """Let the network have ``values`` inside, by name; the rest stays as it is.

        Where a layer does not write into a buffer but puts another tensor in its place, that is copied into it.
        """
        before = [kept[key] for kept, key, *_ in self._places]
        given: list[tuple[dict[str, Any], str, Tensor]] = []
        try:
            for kept, key, names, buffer in self._places:
                value = next((values[name] for name in names if name in values), None)
                if value is not None:
                    kept[key] = value
                    if buffer:
                        given.append((kept, key, value))
            yield
            for kept, key, value in given:
                left = kept[key]
                if left is not value and left is not None:
                    value.copy_(left)
        finally:
            for (kept, key, *_), own in zip(self._places, before, strict=True):
                kept[key] = own

    def __call__(self, values: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the output at parameters and buffers; the buffers are written to, as layers do."""
        with self.at(values):
            return cast(Tensor, self.network(images))


def call(learner: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, *, evaluation: bool = False) -> Tensor:
    """Return the learner's output at ``parameters`` without touching the learner; it can be differentiated twice.

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
    with TwiceDifferentiable(learner)():
        if not evaluation:
            function, values = AsFunction(learner), {**buffers, **parameters}
            return InParts(learner)(lambda some: function(values, some), images)
        with resting(learner), statistics_with_graph(learner):
            return AsFunction(learner)({**buffers, **parameters}, images)


def call_and_track(
    learner: AsFunction, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], images: Tensor
) -> tuple[Tensor, Parameters]:
    """Return the learner's output and its buffers after the call, with their graph."""
    after = {name: buffer.clone() for name, buffer in buffers.items()}
    with statistics_with_graph(learner.network):
        return learner({**after, **parameters}, images), after


def initial_parameters(learner: nn.Module) -> Parameters:
    """Return copies of the learner's trainable parameters by name, detached."""
    return {name: value.detach().clone() for name, value in learner.named_parameters() if value.requires_grad}


def autocast(images: Tensor, dtype: torch.dtype | None) -> torch.autocast | nullcontext[None]:
    """Return the context in which a learner is called: autocast to ``dtype``, or none."""
    return nullcontext() if dtype is None else torch.autocast(images.device.type, dtype=dtype)
