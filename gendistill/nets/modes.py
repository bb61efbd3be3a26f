"""Ways to call a network for a while: with statistics that stay, without chance, with parameters that stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Let norms in training use the statistics of their batch inside, without touching their running statistics."""
    with _without_statistics(norm for norm in _norms(network) if norm.training):
        yield


@contextmanager
def of_the_batch(network: nn.Module) -> Iterator[None]:
    """Let all norms use the statistics of the batch at hand inside, whatever their mode, and write none.

    Those that have no running statistics in torch do so anyway, and no process waits for another.
    """
    with _without_statistics(_norms(network)):
        yield


def _norms(network: nn.Module) -> list[_NormBase]:
    """Return the layers of torch's that may have running statistics: batch and instance norms."""
    return [module for module in network.modules() if isinstance(module, _NormBase)]


@contextmanager
def _without_statistics(norms: Iterable[_NormBase]) -> Iterator[None]:
    kept = [(norm, norm.track_running_stats, norm.running_mean, norm.running_var) for norm in norms]
    try:
        for norm, *_ in kept:
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
        yield
    finally:
        for norm, tracked, mean, variance in kept:
            norm.track_running_stats, norm.running_mean, norm.running_var = tracked, mean, variance


def running_layers(network: nn.Module) -> list[Any]:
    """Return the layers that have running statistics, as batch norm has."""
    return [module for module in network.modules() if getattr(module, "running_mean", None) is not None]


def writes_statistics(network: nn.Module) -> bool:
    """Return whether a forward pass moves running statistics, which a vectorised pass cannot."""
    return any(layer.training and getattr(layer, "track_running_stats", True) for layer in running_layers(network))


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
        for layer in running_layers(network):
            layer.training = True
        yield
