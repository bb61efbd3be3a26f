"""Networks that a user names, written for torch-mimicry."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.mimicry.loader import PACKAGE, installed, load
from gendistill.objects import build, locate
from gendistill.weights import unwrapped


def build_network(spec: Mapping[str, Any], description: Description) -> nn.Module:
    """Build a network of torch-mimicry, or one derived from its classes.

    Args:
        spec: ``{"class_path": ..., "init_args": {...}}``, written by the user.
        description: Gives ``num_classes`` and ``image_shape`` to a class whose own constructor names them.

    Returns:
        The network, with its ``spec``.

    Raises:
        UserError: torch-mimicry is needed and not installed, or the network cannot be built or makes images in [0, 1].
    """
    path = str(spec.get("class_path"))
    if installed() or path.split(".")[0] == PACKAGE:
        load()
    found = locate(path, nn.Module)
    if any(base.__name__ == "DCGANGeneratorCIFAR" for base in found.__mro__):
        raise UserError(
            f"'{path}' makes images in [0, 1]; use DCGANGenerator32, the same network with images in [-1, 1]"
        )
    # Not what its bases name: a class that sets num_classes for its base takes no other.
    named = inspect.signature(found).parameters
    known: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
    network: nn.Module = build(spec, nn.Module, **{key: value for key, value in known.items() if key in named})
    return network


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Give a network the weights of a checkpoint.

    Args:
        network: The network.
        weights: Its state dict.
        path: The file that they come from.

    Raises:
        UserError: They do not fit.
    """
    try:
        network.load_state_dict(unwrapped(weights, network.state_dict().keys()))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' does not fit {type(network).__name__} ({reason})") from error
