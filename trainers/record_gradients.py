"""Gradients of single records, for private sums of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

Losses = Callable[..., Tensor]
"""(function of images and labels that applies the network, *one record's tensors) -> a scalar."""


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the trainable parameters by name, without a graph."""
    return {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}


def record_gradients(network: nn.Module, loss: Losses, *records: Tensor) -> Tensor:
    """Return the gradient of each record's loss by the network's parameters, (B, P), in order of their names.

    The network is applied to one record at a time, so nothing that mixes records has a say; its buffers stay.

    Args:
        network: In evaluation mode.
        loss: See :data:`Losses`; the function it is given takes batches.
        records: (B, ...) each, a row a record.
    """
    parameters = parameters_of(network)
    buffers = dict(network.named_buffers())

    def one(values: Mapping[str, Tensor], *row: Tensor) -> Tensor:
        def applied(*inputs: Tensor) -> Tensor:
            found: Tensor = functional_call(network, ({**values, **buffers},), inputs)
            return found

        return loss(applied, *row)

    count = len(records[0])
    if not count:
        return torch.zeros(0, sum(value.numel() for value in parameters.values()), device=records[0].device)
    found = vmap(grad(one), in_dims=(None, *(0 for _ in records)))(parameters, *records)
    return torch.cat([found[name].flatten(1) for name in parameters], 1)


def in_shapes(vector: Tensor, network: nn.Module) -> Sequence[Tensor]:
    """Return a vector (P,) cut into the network's trainable parameters' shapes."""
    parameters = [value for value in network.parameters() if value.requires_grad]
    pieces = vector.split([value.numel() for value in parameters])
    return [piece.view_as(value) for piece, value in zip(pieces, parameters, strict=True)]
