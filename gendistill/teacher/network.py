"""The network inside a teacher: a copy of the one in training, or built from a file that is not trusted."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from gendistill import objects
from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.nets.base import BaseDiscriminator, Generator
from gendistill.nets.learners import Learner
from gendistill.nets.modes import of_the_batch
from gendistill.seeds import initialisation
from gendistill.untrusted import PIXELS, UntrustedSpec
from gendistill.weights import bare, unwrapped

BatchNorm = Literal["eval", "batch"]
BORROWING = threading.RLock()
"""Held while statistics are away, so that threads may share a teacher."""


BASES: dict[str, type[nn.Module]] = {"generator": Generator, "labeller": Learner, "discriminator": BaseDiscriminator}
"""What a network of a file must be, if it is this project's."""


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
    spec: Any,
    state: Mapping[str, Tensor],
    description: Description,
    what: str = "generator",
    *,
    image_shape: tuple[int, ...] | None = None,
) -> nn.Module:
    """Build the network that a teacher file names and give it the file's weights.

    Args:
        spec: ``{"class_path": ..., "init_args": {...}}`` as the file has it.
        state: Its complete state dict.
        description: Offers ``num_classes`` and ``image_shape`` where the spec leaves them out.
        what: What the network is, one of :data:`BASES`.
        image_shape: Of what it makes or sees; None: the description's.

    Returns:
        The network on the CPU.

    Raises:
        UserError: The class is not a generator of this project or a network of a module already imported, refuses its
            arguments, asks for far more than the file holds, or does not fit the weights.
    """
    if math.prod(description.image_shape) > PIXELS:
        raise UserError(
            f"the file describes images of shape {tuple(description.image_shape)}; a network of a file may have to do "
            f"with images of at most {PIXELS:,} values"
        )
    held = sum(tensor.numel() for tensor in state.values())
    # Initialisation works on copies, and buffers need not be stored.
    named = UntrustedSpec(spec, f"the file's {what}", values=10 * held + 10_000_000, parts=20 * len(state) + 1_000)
    # The draws are thrown away; this only keeps them from the global generator.
    with initialisation(0, "teacher"):
        # The weights that fit say the sizes, too: what knows more classes than the data is no fault.
        sizes = {"num_classes": description.num_classes, "image_shape": image_shape or description.image_shape}
        given = named.said.get("init_args") or {}
        left = {name: value for name, value in sizes.items() if name not in given}
        network: nn.Module = objects.build(named, BASES[what], **left)
    state = unwrapped(state, network.state_dict().keys())
    _check_fit(network, state)
    network.load_state_dict(state)
    return network


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
        if tensor.is_floating_point() != state[key].is_floating_point() or state[key].is_complex():
            raise UserError(
                f"weights '{key}' of {name} are {_kind(tensor)}, the file has {_kind(state[key])}; make it again"
            )


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
