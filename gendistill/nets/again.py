"""A forward pass made twice: without a graph first, and again when its graph is needed.

A pass moves more than its output shows. Batch norm in training mode averages its statistics, spectral norm makes a
power iteration, dropout draws numbers. Made a second time it would give other values, and move all of that twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gendistill.nets.chance import Chance


class Remembered:
    """What a network's forward pass depends on besides its arguments and weights, as it stands now.

    These are its modules' modes, its buffers, and the generators that it draws from (:class:`Chance`). To render a lot
    of images with little memory, group by group::

        before = []
        with torch.no_grad():
            for group in groups:
                before.append(Remembered(network))
                images.append(network(group))
        ...  # the gradient with respect to the images is found
        for group, remembered, gradient in zip(groups, before, gradients):
            with remembered.again():
                made = network(group)  # the same images to the bit, now with a graph
            made.backward(gradient)

    The weights must not have changed meanwhile. Where ``parametrize.cached()`` was entered around the first passes of a
    network with parametrised weights, it must be entered around the second ones, too.

    Args:
        network: The network; what is no module has generators alone.
        device: Where it runs; None: where its first parameter or buffer is, else the CPU.
    """

    def __init__(self, network: object, device: torch.device | None = None) -> None:
        modules = list(network.modules()) if isinstance(network, nn.Module) else []
        if device is None and isinstance(network, nn.Module):
            held = (tensor.device for part in (network.parameters(), network.buffers()) for tensor in part)
            device = next(held, None)
        self._modes = [(module, module.training) for module in modules]
        self._buffers = [
            (module._buffers, name, value, value.detach().clone())
            for module in modules
            for name, value in module._buffers.items()
            if value is not None
        ]
        self._chance = Chance(network, device or torch.device("cpu"))
        self._state = self._chance.state()

    @contextmanager
    def again(self) -> Iterator[None]:
        """Let a pass inside start from what was remembered; afterwards all is as it was before, to the bit.

        Buffers are exchanged for copies and not written to: graphs that other passes have left stay valid.
        """
        modes = [(module, module.training) for module, _ in self._modes]
        own = [(buffers, name, buffers[name]) for buffers, name, *_ in self._buffers]
        copies: dict[int, Tensor] = {}  # a buffer that two modules share is one tensor inside, too
        state = self._chance.state()
        try:
            for module, mode in self._modes:
                module.training = mode
            for buffers, name, first, value in self._buffers:
                buffers[name] = copies.setdefault(id(first), value.clone())
            self._chance.restore(self._state)
            yield
        finally:
            self._chance.restore(state)
            for buffers, name, held in own:
                buffers[name] = held
            for module, mode in modes:
                module.training = mode

    @contextmanager
    def aside(self, seed: int) -> Iterator[None]:
        """Let a pass inside leave no trace; it starts from what was remembered, and draws from ``seed``."""
        with self.again(), self._chance.seeded(seed):
            yield


@torch.no_grad()
def draws(network: nn.Module, images: Tensor) -> bool:
    """Return whether a network in training draws random numbers when it sees images (N, C, H, W); it stays as it is."""
    chance = Chance(network, images.device)
    before = chance.state()
    with Remembered(network, images.device).again():
        network.train()(images)
        return chance.moved(before)
