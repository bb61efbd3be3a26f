"""Where meta-training takes its learners from: one spec, several, or a space of architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gendistill.errors import UserError
from gendistill.nets.spaces import LearnerSpace
from gendistill.objects import build, locate

Spec = Mapping[str, Any]


class LearnerSource:
    """Draws the specs of learners.

    Args:
        learners: One learner spec, several of which each is equally likely, or the spec of a
            :class:`gendistill.nets.spaces.LearnerSpace`.

    Raises:
        UserError: No spec, or one that cannot be found.
    """

    def __init__(self, learners: Spec | Sequence[Spec]) -> None:
        self.specs: list[Spec] = [learners] if isinstance(learners, Mapping) else list(learners)
        if not self.specs:
            raise UserError("learners is empty; give at least one learner")
        self.space: LearnerSpace | None = None
        path = self.specs[0].get("class_path")
        if len(self.specs) == 1 and path is not None:
            found = locate(str(path))
            if isinstance(found, type) and issubclass(found, LearnerSpace):
                base: type[Any] = LearnerSpace
                self.space = build(self.specs[0], base)

    def draw(self, count: int, generator: torch.Generator) -> list[Spec]:
        """Return ``count`` specs.

        Args:
            count: How many, at least 1.
            generator: Draws them.
        """
        if self.space is not None:
            return [self.space.learner(self.space.sample(generator)) for _ in range(count)]
        choice = torch.randint(len(self.specs), (count,), generator=generator, device=generator.device)
        return [self.specs[place] for place in choice.tolist()]
