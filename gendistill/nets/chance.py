"""The random numbers that networks draw by themselves: taken from a seed, or drawn once more.

Layers such as dropout take no generator. They draw from torch's global ones, and networks of one's own also from
Python's, from NumPy's, or from a generator that they hold. :class:`Chance` lends all of these to a forward pass and
puts them back untouched.
"""

from __future__ import annotations

import pickle
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

LONGEST = 64
"""Items of a list that is looked through for generators; longer ones are data."""


class Chance:
    """Every generator that a network may draw from without being handed one.

    Args:
        network: Generators that its modules hold as attributes count, too; what is no module holds none.
        device: Where it runs, for the global generator of an accelerator.
    """

    def __init__(self, network: object, device: torch.device) -> None:
        sources: list[_Source] = [_Torch(torch.default_generator), _Python(random)]
        accelerator = getattr(getattr(torch, device.type, None), "default_generators", None)
        if accelerator:
            index = torch.get_device_module(device).current_device() if device.index is None else device.index
            sources.append(_Torch(accelerator[index]))
        if "numpy" in sys.modules:
            sources.append(_NumPy(sys.modules["numpy"].random))
        self._sources = [*sources, *_held(network)]

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Draw from ``seed`` inside; afterwards all generators stand where they stood.

        Args:
            seed: From 0 to 2**63 - 1, as :func:`gendistill.seeds.derive_seed` gives them.
        """
        lent = [source.lend(seed) for source in self._sources]
        try:
            yield
        finally:
            for source, before in zip(self._sources, lent, strict=True):
                source.back(before)

    def state(self) -> list[Any]:
        """Return where all generators stand."""
        return [source.state() for source in self._sources]

    def restore(self, state: list[Any]) -> None:
        """Put all generators where they stood at :meth:`state`."""
        for source, one in zip(self._sources, state, strict=True):
            source.restore(one)

    def moved(self, state: list[Any]) -> bool:
        """Return whether any generator has given numbers since :meth:`state`."""
        return any(source.moved(one) for source, one in zip(self._sources, state, strict=True))


class _Source(ABC):
    """One generator."""

    @abstractmethod
    def state(self) -> Any:
        """Return a copy of where it stands."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Go on from there."""

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Start anew."""

    def moved(self, state: Any) -> bool:
        """Return whether it stands elsewhere."""
        return bool(self.state() != state)

    def lend(self, seed: int) -> Any:
        """Start anew, and return what :meth:`back` needs."""
        before = self.state()
        self.seed(seed)
        return before

    def back(self, before: Any) -> None:
        """Stand again where :meth:`lend` found it."""
        self.restore(before)


class _Torch(_Source):
    """Of torch. A generator of any device gives its state as bytes on the CPU: nothing here waits for a GPU."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state(self) -> torch.Tensor:
        return self.generator.get_state()

    def restore(self, state: torch.Tensor) -> None:
        self.generator.set_state(state)

    def seed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def moved(self, state: torch.Tensor) -> bool:
        return not torch.equal(self.state(), state)


class _Python(_Source):
    """A ``random.Random``, or the module ``random`` itself."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def state(self) -> Any:
        return self.generator.getstate()

    def restore(self, state: Any) -> None:
        self.generator.setstate(state)

    def seed(self, seed: int) -> None:
        self.generator.seed(seed)


class _RandomState(_Source):
    """A ``numpy.random.RandomState``, or what has its methods."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def state(self) -> Any:
        return self.generator.get_state()

    def restore(self, state: Any) -> None:
        self.generator.set_state(state)

    def seed(self, seed: int) -> None:
        self.generator.seed(seed % 2**32)

    def moved(self, state: Any) -> bool:
        return pickle.dumps(self.state()) != pickle.dumps(state)


class _NumPy(_RandomState):
    """NumPy's global one, lent by putting another in its place: copying its state takes fifty times as long."""

    spare: Any = None

    def lend(self, seed: int) -> Any:
        before = self.generator.get_bit_generator()
        if self.spare is None or self.spare is before:
            self.spare = self.generator.MT19937()
        self.generator.set_bit_generator(self.spare)
        self.seed(seed)
        return before

    def back(self, before: Any) -> None:
        self.generator.set_bit_generator(before)


class _NumPyGenerator(_Source):
    """A ``numpy.random.Generator``."""

    def __init__(self, generator: Any) -> None:
        self.bits = generator.bit_generator

    def state(self) -> Any:
        return self.bits.state

    def restore(self, state: Any) -> None:
        self.bits.state = state

    def seed(self, seed: int) -> None:
        self.bits.state = type(self.bits)(seed).state

    def moved(self, state: Any) -> bool:
        return pickle.dumps(self.bits.state) != pickle.dumps(state)


def _source(value: object) -> _Source | None:
    """Return a generator in its form here, None for anything else."""
    if isinstance(value, torch.Generator):
        return _Torch(value)
    if isinstance(value, random.Random):
        return _Python(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.random.Generator):
        return _NumPyGenerator(value)
    if numpy is not None and isinstance(value, numpy.random.RandomState):
        return _RandomState(value)
    return None


def _held(network: object) -> list[_Source]:
    """Return the generators that modules hold as attributes, each once; also those in short lists, tuples and dicts."""
    found, seen, waiting = [], set(), [network]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (torch.Tensor, str, bytes)):
            continue
        seen.add(id(value))
        source = _source(value)
        if source is not None:
            found.append(source)
        elif isinstance(value, nn.Module):
            waiting += vars(value).values()
            waiting += value._modules.values()
        elif isinstance(value, (list, tuple, dict)) and len(value) <= LONGEST:
            waiting += value.values() if isinstance(value, dict) else value
    return found
