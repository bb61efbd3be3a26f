"""Looking at a run without changing it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from gendistill.seeds import Streams, derive_seed


@contextmanager
def untouched(modules: Iterable[nn.Module], streams: Streams) -> Iterator[None]:
    """Lend the networks out in eval mode, without gradients, and put everything back as it was.

    Restored are the training mode of every submodule, every buffer (batch-norm statistics, power iterations), every
    random stream and torch's global generators. So each picture grid also sees the same noise.

    Args:
        modules: The run's networks.
        streams: The run's random streams.
    """
    networks = list(modules)
    modes = [(module, module.training) for network in networks for module in network.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module, _ in modes
        for name, buffer in module.named_buffers(recurse=False)
    ]
    state = streams.state_dict()
    cuda = [streams.device] if streams.device.type == "cuda" else []
    for network in networks:
        network.eval()
    try:
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                setattr(module, name, buffer.copy_(value))
        for module, mode in modes:
            module.training = mode
        streams.load_state_dict(state)


class GlobalRandomness:
    """Torch's global generators, lent to one run and put back after it.

    Layers such as dropout draw from nowhere else. The run seeds them, saves them and restores them, so that they resume
    exactly; the program around the run finds them as they were.

    Args:
        seed: The run's seed.
        device: The run's device.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = derive_seed(seed, "global")
        self._device = device

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Seed the generators inside, restore them after."""
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.random.default_generator.manual_seed(self._seed)
            if self._device.type == "cuda":
                with torch.cuda.device(self._device):
                    torch.cuda.manual_seed(self._seed)
            yield

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the generators' states as byte tensors."""
        state = {"cpu": torch.random.get_rng_state()}
        if self._device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self._device)
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Put the generators back to where they were."""
        torch.random.set_rng_state(state["cpu"].cpu())
        if self._device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"].cpu(), self._device)
