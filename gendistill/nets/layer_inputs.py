"""What the layers of a network are given: its features at every depth, without a word from the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def layer_inputs(network: nn.Module, forward: Callable[[], Any]) -> list[Tensor]:
    """Return what each linear or convolutional layer is given, in the order of the calls.

    After the first one, which is given the images, these are the activations after normalisation, non-linearity and
    pooling; the last one is what the classifier's last layer sees.

    Args:
        network: Whose layers are listened to.
        forward: Calls the network once.

    Returns:
        Flat tensors (N, F), one a call of a layer, with the graph of the forward pass.
    """
    found: list[Tensor] = []

    def listen(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0].flatten(1))

    handles = [m.register_forward_pre_hook(listen) for m in network.modules() if isinstance(m, WEIGHTED)]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return found
