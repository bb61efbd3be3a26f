"""Several spaces as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gendistill.errors import UserError
from gendistill.nets.spaces.base import Choose, LearnerSpace
from gendistill.objects import build


class MixedSpace(LearnerSpace):
    """Draws a space first, each with the same chance, and then an architecture of it.

    Names are those of the spaces, which must tell themselves apart: a name is read by the first space that knows it.

    Args:
        spaces: Specs of spaces, or spaces.

    Raises:
        UserError: There is none.
    """

    def __init__(self, spaces: Sequence[str | Mapping[str, Any] | LearnerSpace]) -> None:
        if isinstance(spaces, str | Mapping) or not spaces:
            raise UserError("a mixed space needs a list of at least one space")
        # A class with type parameters of its own would be refused by mypy as abstract; building it is what is meant.
        base: type[Any] = LearnerSpace
        self.spaces: list[LearnerSpace] = [
            space if isinstance(space, LearnerSpace) else build(space, base) for space in spaces
        ]

    @property
    def size(self) -> int:
        """The sum of the spaces' sizes."""
        return sum(space.size for space in self.spaces)

    def compose(self, choose: Choose) -> str:
        """Choose a space by its number, then as it chooses; see :meth:`LearnerSpace.compose`."""
        number = choose("space", range(len(self.spaces)))
        # The same label may have other options in another space.
        return self.spaces[number].compose(lambda label, options: choose(f"{number}/{label}", options))

    def names(self) -> Iterator[str]:
        """Yield the names of one space after another."""
        for space in self.spaces:
            yield from space.names()

    def learner(self, name: str) -> dict[str, Any]:
        """Return the learner of a name; see :meth:`LearnerSpace.learner`."""
        problems = []
        for space in self.spaces:
            try:
                return space.learner(name)
            except UserError as error:
                problems.append(str(error))
        raise UserError("; ".join(problems))
