"""The network inside a teacher: a copy of the one in training, or built from a file that is not trusted."""

from __future__ import annotations

import contextlib
import copy
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gendistill import objects
from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.nets.modes import of_the_batch
from gendistill.seeds import initialisation
from gendistill.teacher.base import first_line
from gendistill.weights import bare, unwrapped

BatchNorm = Literal["eval", "batch"]
BORROWING = threading.RLock()
"""Held while statistics are away, so that threads may share a teacher."""

FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.full)
DOTTED = re.compile(r"[A-Za-z_]\w*(\.(?!__)[A-Za-z_]\w*)+")
"""No part after the first is dunder: importing a package's ``__main__`` would run a program."""


def snapshot(network: nn.Module) -> nn.Module:
    """Return a copy of a network that no training touches, without gradients and without what wraps it."""
    network = bare(network)
    # Some layers (hook-based spectral norm) keep a computed tensor as an attribute, which deepcopy refuses to copy.
    computed = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, computed).requires_grad_(False)


@contextlib.contextmanager
def mode(network: nn.Module, batch_norm: BatchNorm) -> Iterator[None]:
    """Evaluation mode; for ``"batch"`` norms use the batch at hand for as long as this lasts, as in training."""
    network.eval()
    if batch_norm == "eval":
        yield
        return
    with BORROWING, of_the_batch(network):
        yield


def build_network(
    spec: Any, state: Mapping[str, Tensor], description: Description, what: str = "generator"
) -> nn.Module:
    """Build the network that a teacher file names and give it the file's weights.

    Args:
        spec: ``{"class_path": ..., "init_args": {...}}``.
        state: Its complete state dict.
        description: Offers ``num_classes`` and ``image_shape`` where the spec leaves them out.
        what: What the network is called in sentences.

    Returns:
        The network on the CPU.

    Raises:
        UserError: The class is not a network of this project or of a module already imported, refuses its arguments,
            or does not fit the weights.
    """
    if not isinstance(spec, Mapping) or not DOTTED.fullmatch(str(spec.get("class_path"))):
        raise UserError(f"the file does not name the {what}'s class as 'class_path'")
    # The draws are thrown away; this only keeps them from the global generator.
    try:
        with initialisation(0, "teacher"), Frugal(sum(tensor.numel() for tensor in state.values())):
            network = objects.build(
                dict(spec),
                nn.Module,
                trusted=False,
                num_classes=description.num_classes,
                image_shape=description.image_shape,
            )
    except UserError:
        raise
    except Exception as error:  # whatever a constructor does with arguments from a file
        raise UserError(
            f"the {what} '{spec['class_path']}' cannot be built from the file: {first_line(error)}"
        ) from error
    state = unwrapped(state, network.state_dict().keys())
    _check_fit(network, state)
    network.load_state_dict(state)
    return network


class Frugal(TorchFunctionMode):
    """Refuses tensors far beyond the size of a file's weights, before a damaged width fills the memory.

    Args:
        size: Number of values that the file holds.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = 10 * size + 10_000_000  # initialisation works on copies, and buffers need not be stored

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count what a factory function is asked for; run everything."""
        kwargs = kwargs or {}
        if func in FACTORIES:
            self.left -= func(*args, **{**kwargs, "device": "meta"}).numel()
            if self.left < 0:
                raise UserError("the file asks for a network far larger than the weights that it holds")
        return func(*args, **kwargs)


def _check_fit(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    name = type(network).__name__
    wanted = network.state_dict()
    for key in wanted.keys() - state.keys():
        raise UserError(f"the file lacks the weights '{key}' of {name}")
    for key in state.keys() - wanted.keys():
        raise UserError(f"the file holds weights '{key}' that {name} does not have")
    for key, tensor in wanted.items():
        if tensor.shape != state[key].shape:
            raise UserError(
                f"weights '{key}' of {name} must have shape {tuple(tensor.shape)}, the file has "
                f"{tuple(state[key].shape)}"
            )
