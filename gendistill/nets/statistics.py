"""Running statistics as part of what is differentiated.

A learner that is looked at as it is used after training is normalised by what its batches left behind. A gradient
through its training then goes through these statistics, too. Torch's layers take theirs for constants, both where they
are updated and where they are used; inside :func:`statistics_with_graph` they do not. Layers of one's own ask
:func:`keeping_graph` (and may say so by an attribute ``keeps_graph``); :func:`constant_statistics` names those that
did not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from gendistill.nets.exact import exchanged
from gendistill.nets.modes import answering, running_layers

_KEEPING = ContextVar("keeping_graph", default=False)


@contextmanager
def statistics_with_graph(network: nn.Module) -> Iterator[None]:
    """Let the running statistics of a network keep their graph inside, for training that is differentiated.

    Outside they are constants; a plain training loop would otherwise hold on to the graphs of all its steps. Buffers
    are written in place: call the network at copies of them, as ``torch.func.functional_call`` does.
    """
    norms = ((layer, _kind(layer)) for layer in running_layers(network))
    token = _KEEPING.set(True)
    try:
        with exchanged((norm, *kind) for norm, kind in norms if kind is not None):
            yield
    finally:
        _KEEPING.reset(token)


@torch.no_grad()
def set_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set a network's running statistics to the mean of those of batches.

    In evaluation mode each image's output is then its own affair: a batch can be cut into parts and vectorised over.

    Args:
        network: The network; its modes stay, and it draws nothing.
        batches: (N, C, H, W) each, N at least 2; equally large, or nearly so.
    """
    layers = [layer for layer in running_layers(network) if hasattr(layer, "momentum")]
    momenta = [layer.momentum for layer in layers]
    try:
        for count, images in enumerate(batches, 1):
            for layer in layers:
                layer.momentum = 1 / count  # the first batch's statistics take the place of the old ones
            with answering(network):
                network(images)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def keeping_graph() -> bool:
    """Return whether running statistics that are updated now are to keep their graph."""
    return _KEEPING.get()


def constant_statistics(network: nn.Module, call: Callable[[dict[str, Tensor]], object]) -> list[str]:
    """Return the names of buffers that a call in training mode moves without a graph, so that gradients miss them.

    Networks of known layers are not called. Those of spectral norm do not count: its singular vectors are constants in
    the gradient that its authors define (Miyato et al. 2018, section 2.1).

    Args:
        network: The network.
        call: Calls it inside :func:`statistics_with_graph` at the buffers that it is given, by name, with an input
            that requires a gradient.
    """
    known = {
        id(buffer) for module in network.modules() if _is_known(module) for buffer in module.buffers(recurse=False)
    }
    names = [name for name, buffer in network.named_buffers() if buffer.is_floating_point() and id(buffer) not in known]
    if not names:
        return []
    buffers = {name: buffer.detach().clone() for name, buffer in network.named_buffers()}
    given = {name: buffers[name].clone() for name in names}
    call(buffers)
    return [name for name in names if not buffers[name].requires_grad and _moved(buffers[name], given[name])]


def _moved(buffer: Tensor, given: Tensor) -> bool:
    # Torch's own kernels write running statistics without counting it as a change of the tensor. Elsewhere than on a
    # CPU a comparison would wait for the device.
    return buffer._version > 0 or (buffer.device.type == "cpu" and not torch.equal(buffer, given))


def _is_known(module: nn.Module) -> bool:
    spectral = isinstance(module, _SpectralNorm) or any(
        isinstance(hook, SpectralNorm) for hook in module._forward_pre_hooks.values()
    )
    return spectral or _kind(module) is not None or getattr(module, "keeps_graph", False)


def _kind(module: nn.Module) -> tuple[str, Callable[[Any, Tensor], Tensor]] | None:
    """Return the method of a layer of torch's that deals with its statistics, and what does so with their graph.

    Classes that have written that method anew are not torch's any more.
    """
    if isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward:
        return "forward", _batch_norm
    own = type(module)
    if isinstance(module, _InstanceNorm) and own._apply_instance_norm is _InstanceNorm._apply_instance_norm:  # type: ignore[attr-defined]
        return "_apply_instance_norm", _instance_norm
    return None


def _batch_norm(norm: Any, x: Tensor) -> Tensor:
    """Do what ``nn.BatchNorm.forward`` does."""
    norm._check_input_dim(x)
    if not norm.training:
        return _by_statistics(norm, x)
    if norm.track_running_stats:
        share = 0.0 if norm.momentum is None else norm.momentum
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
            if norm.momentum is None:
                share = 1.0 / norm.num_batches_tracked.to(norm.running_mean.dtype)
        variance, mean = torch.var_mean(x.to(norm.running_mean.dtype), [0, *range(2, x.dim())], correction=1)
        _average(norm, mean, variance, share)
    return F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


def _instance_norm(norm: Any, x: Tensor) -> Tensor:
    """Do what ``nn.InstanceNorm`` does with statistics: those of images, averaged over the batch."""
    if not norm.training:
        return _by_statistics(norm, x)
    variance, mean = torch.var_mean(x.to(norm.running_mean.dtype), list(range(2, x.dim())), correction=1)
    _average(norm, mean.mean(0), variance.mean(0), 0.0 if norm.momentum is None else norm.momentum)
    return F.instance_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


def _average(norm: Any, mean: Tensor, variance: Tensor, share: float | Tensor) -> None:
    # In place: copies that functional_call or vmap put here are updated, too.
    norm.running_mean.mul_(1 - share).add_(share * mean)
    norm.running_var.mul_(1 - share).add_(share * variance)


def _by_statistics(norm: Any, x: Tensor) -> Tensor:
    """Normalise by the running statistics, differentiably in them."""
    shape = (1, -1, *[1] * (x.dim() - 2))
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    normalised = (x - norm.running_mean.view(shape)) * scale.view(shape)
    if norm.bias is not None:
        normalised = normalised + norm.bias.view(shape)
    return normalised.to(x.dtype)
