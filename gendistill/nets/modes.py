"""Ways to call a network for a while: with statistics that stay, without chance, with parameters that stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of their batch inside, without touching their running statistics."""
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Make no gradients for a network's parameters inside; gradients flow through it to its input."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def resting(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode inside; afterwards every module of it is in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def answering(network: nn.Module) -> Iterator[None]:
    """Let a network that is in training answer inside: nothing is dropped, batches are normalised by themselves.

    Running statistics may be those of other weights, or of no training at all; layers that have some keep the training
    mode, every other module is in evaluation mode.
    """
    with resting(network):
        for module in network.modules():
            module.training = getattr(module, "running_mean", None) is not None
        yield
