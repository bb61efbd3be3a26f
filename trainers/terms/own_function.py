"""A function of one's own as a term."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from gendistill.errors import UserError
from trainers.batch import Batch
from trainers.terms.term import Term


class OwnFunction(Term):
    """A user's function of the real and the generated batch.

    Args:
        function: ``function(real, fake, **arguments)`` with two :class:`~trainers.batch.Batch`; returns a scalar.
        arguments: What else it is given.
        weight: Factor.
        kind: What it is called in a sentence.
    """

    def __init__(
        self, function: Callable[..., Tensor], arguments: Mapping[str, Any], weight: float = 1.0, kind: str = "term"
    ) -> None:
        super().__init__(weight)
        self.name, self.kind = function.__name__, kind
        self.function = function
        self.arguments = dict(arguments)
        try:
            inspect.signature(function).bind(None, None, **self.arguments)
        except TypeError as error:
            raise UserError(
                f"the {kind} '{self.name}' is called as {self.name}(real, fake, **init_args), which it refuses: {error}"
            ) from error

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return what the function returns.

        Raises:
            UserError: It is no scalar, or does not depend on the generated images.
        """
        value = self.function(real, fake, **self.arguments)
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
            raise UserError(
                f"the {self.kind} '{self.name}' must return a scalar tensor that can be differentiated with respect to "
                "fake.images"
            )
        return value
