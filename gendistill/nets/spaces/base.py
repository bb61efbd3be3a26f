"""What a space of learners is: a way to choose an architecture, and a name that rebuilds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from gendistill.errors import UserError
from gendistill.objects import build

Choose = Callable[[str, Sequence[Any]], Any]
"""Called with what is chosen and the options; returns one of them."""


class LearnerSpace(ABC):
    """Architectures of learners, each with a short name.

    A subclass writes :meth:`compose`, which asks for one choice after another, and :meth:`learner`, which reads a name
    back. Sampling, enumeration and every search follow from them.
    """

    @abstractmethod
    def compose(self, choose: Choose) -> str:
        """Return the name of the architecture that a sequence of choices makes.

        Args:
            choose: Called as ``choose(label, options)`` for one choice after another; later ones may depend on earlier
                ones. A label always comes with the same options.
        """

    @abstractmethod
    def learner(self, name: str) -> dict[str, Any]:
        """Return the spec of the learner that has a name, as :func:`gendistill.objects.build` takes it.

        Raises:
            UserError: The name is not one of this space.
        """

    @property
    def size(self) -> int:
        """Number of names; counted by going through them unless the space knows better."""
        return sum(1 for _ in self.names())

    def sample(self, generator: torch.Generator) -> str:
        """Return the name of a random architecture; every choice is uniform.

        Args:
            generator: Draws one number a choice.
        """

        def choose(_: str, options: Sequence[Any]) -> Any:
            drawn = torch.randint(len(options), (1,), generator=generator, device=generator.device)
            return options[int(drawn)]

        return self.compose(choose)

    def samples(self, count: int, generator: torch.Generator) -> list[str]:
        """Return ``count`` different names, in the order in which they were drawn.

        Raises:
            UserError: The space has fewer.
        """
        found: dict[str, None] = {}
        misses = 0
        while len(found) < count:
            before = len(found)
            found[self.sample(generator)] = None
            misses = 0 if len(found) > before else misses + 1
            # Only a space that is nearly used up draws the same names again and again.
            if misses > 100 and self.size < count:
                raise UserError(f"the space has {self.size} architectures, {count} different ones were asked for")
        return list(found)

    def build(self, name: str, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        """Return the network of a name; its initial weights come from torch's generator.

        Make it inside :func:`gendistill.seeds.initialisation` to have the weights depend on a seed.

        Args:
            name: What :meth:`sample` returned, or one of :meth:`names`.
            num_classes: Number of classes.
            image_shape: (C, H, W) of the images.

        Raises:
            UserError: The name is not one of this space, or the architecture is too deep for the images.
        """
        made: nn.Module = build(self.learner(name), nn.Module, num_classes=num_classes, image_shape=image_shape)
        return made

    def names(self) -> Iterator[str]:
        """Yield every name once, the last choice changing fastest."""
        path: list[int] = []
        lengths: list[int] = []
        while True:
            place = 0

            def choose(_: str, options: Sequence[Any]) -> Any:
                nonlocal place
                if place == len(path):
                    path.append(0)
                    lengths.append(len(options))
                place += 1
                return options[path[place - 1]]

            yield self.compose(choose)
            while path and path[-1] + 1 == lengths[-1]:
                path.pop()
                lengths.pop()
            if not path:
                return
            path[-1] += 1


def checked_options(what: str, given: Sequence[Any]) -> tuple[Any, ...]:
    """Return the options of one choice, doubles left out.

    Raises:
        UserError: There is none, or it is no list.
    """
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise UserError(f"{what} is {given!r}; give a list with at least one option, such as [32, 64]")
    return tuple(dict.fromkeys(given))
