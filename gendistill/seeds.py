"""Randomness that a run owns: one generator a purpose, none of them the global one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from gendistill.budget import check_memory

HOST = "host/"
"""Begins the name, in a state, of a generator of the CPU in a run on another device."""
RESULT = 4000
"""Bytes of what is kept of a learner at least: its numbers, and its smallest weights while it learns."""


def derive_seed(seed: int, name: str) -> int:
    """Return a 63-bit seed for one purpose; different names give independent streams."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """Return seeds as a list; a number N stands for 0..N-1.

    Raises:
        UserError: There is no memory for as many results.
    """
    if isinstance(seeds, int):
        what = f"the results of {seeds:,} seeds"
        check_memory(RESULT * seeds, what, "give fewer seeds")
        return list(range(seeds))
    return list(seeds)


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator for one purpose."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, name))


@contextmanager
def initialisation(seed: int, name: str) -> Iterator[None]:
    """Make layers built inside draw their initial weights (on the CPU) from ``(seed, name)``.

    torch's layers initialise from the global generator only, so it is lent out here, seeded, and put back untouched.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(derive_seed(seed, name))
        yield


class Streams:
    """Named generators made on first use: ``streams["noise"]``.

    Turning one consumer off leaves every other stream bit-identical. States go into checkpoints.

    Args:
        seed: The run's seed.
        device: Where the generators draw.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        if name not in self._generators:
            self._generators[name] = stream(self.seed, name, self.device)
        return self._generators[name]

    def on_host(self, name: str) -> torch.Generator:
        """Return a named generator of the CPU, for numbers that the program itself goes by: a GPU is not waited for.

        Where the run is on the CPU it is the generator ``self[name]``.

        Args:
            name: Its name.
        """
        if self.device.type == "cpu":
            return self[name]
        kept = f"{HOST}{name}"
        if kept not in self._generators:
            self._generators[kept] = stream(self.seed, name)
        return self._generators[kept]

    def state_dict(self) -> dict[str, Any]:
        """Return every generator's state as byte tensors."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put every generator back to where it was; streams not in ``state`` start anew.

        Generators that were already handed out stay the same objects: samplers hold on to them.
        """
        for name, generator in self._generators.items():
            if name not in state:
                generator.manual_seed(derive_seed(self.seed, name.removeprefix(HOST)))
        for name, value in state.items():
            self._named(name).set_state(value.cpu())

    def restart(self, names: Iterable[str], salt: str) -> None:
        """Seed streams anew, each from the run's seed, its name and ``salt``: for a run that changes its device."""
        for name in names:
            self._named(name).manual_seed(derive_seed(self.seed, f"{name.removeprefix(HOST)}/{salt}"))

    def _named(self, name: str) -> torch.Generator:
        """Return the generator that a state calls so."""
        return self.on_host(name.removeprefix(HOST)) if name.startswith(HOST) else self[name]
