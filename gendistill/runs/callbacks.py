"""What somebody wants done while a run goes on: every n steps, whenever it is saved, at its end.

A callback derives from :class:`Callback` and overrides what it waits for, or is a function given to :class:`Every`,
:class:`OnSave` or :class:`AtEnd`. It is given to :func:`gendistill.train`, or named in ``run.callbacks`` of a config by
dotted path. It finds networks in eval mode; whatever it draws, judges or runs, the run stays the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.objects import build, locate
from gendistill.runs.context import RunContext
from gendistill.teacher import Teacher

T = TypeVar("T")


class Now:
    """What a callback is shown: a run at one of its steps.

    Args:
        context: The run.
        trainer: The method, as it is.
        data: The run's data, on its device.
    """

    def __init__(self, context: RunContext, trainer: Any, data: RealData) -> None:
        self.context, self.trainer, self.data = context, trainer, data
        self.ends: str | None = None
        """Why the run is to end here; None: it is not."""

    @property
    def step(self) -> int:
        """Completed steps."""
        return self.context.step

    @property
    def steps(self) -> int:
        """Length of the run in steps."""
        return self.context.options.steps

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.context.directory.path

    @property
    def metrics(self) -> Mapping[str, float]:
        """Means of what was logged, over the last interval (``run.log_every``); empty before the first."""
        return dict(self.context.metrics)

    def teacher(self) -> Teacher:
        """Return what was learned so far."""
        with torch.no_grad():
            made: Teacher = self.trainer.teacher()
        return made

    def stop(self, reason: str = "a callback asked for it") -> None:
        """End the run after this step: it is saved, and the same call with more steps goes on."""
        self.ends = reason


class Callback:
    """What is done while a run goes on; each method does nothing until it is overridden."""

    every: int = 0
    """Steps between two calls of :meth:`on_step`; 0: it is not called."""

    def on_start(self, now: Now) -> None:
        """Hear that a run begins or goes on, before its first step."""

    def on_step(self, now: Now) -> None:
        """Hear of every ``every``-th step, from the first step of all."""

    def on_save(self, now: Now) -> None:
        """Hear that state and teacher were saved; the files are complete."""

    def on_end(self, now: Now) -> None:
        """Hear that the run is at its end, or was stopped by a callback; not of one that was interrupted."""


class Every(Callback):
    """Call a function every so many steps.

    Args:
        steps: How many, at least 1.
        call: A function of a :class:`Now`, or its dotted path.

    Raises:
        UserError: ``steps`` is below 1, or the function cannot be found.
    """

    def __init__(self, steps: int, call: Callable[[Now], object] | str) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UserError(f"steps of a callback is {steps!r}; give a whole number from 1")
        self.every, self.on_step = steps, function(call)  # type: ignore[method-assign]


class OnSave(Callback):
    """Call a function whenever the run is saved.

    Args:
        call: A function of a :class:`Now`, or its dotted path.
    """

    def __init__(self, call: Callable[[Now], object] | str) -> None:
        self.on_save = function(call)  # type: ignore[method-assign]


class AtEnd(Callback):
    """Call a function at the end of the run.

    Args:
        call: A function of a :class:`Now`, or its dotted path.
    """

    def __init__(self, call: Callable[[Now], object] | str) -> None:
        self.on_end = function(call)  # type: ignore[method-assign]


def function(call: Any) -> Any:
    """Return a function that is given itself or by its dotted path.

    Raises:
        UserError: It is neither.
    """
    found = locate(call) if isinstance(call, str) else call
    if not callable(found) or isinstance(found, type):
        raise UserError(f"{call!r} is no function; give a function of one argument, or its dotted path")
    return found


def built(given: Sequence[Any], base: type[T], what: str) -> list[T]:
    """Return the objects that a list names, in its order.

    Args:
        given: Objects, classes, dotted paths, or mappings with ``class_path`` and ``init_args``.
        base: What each must be.
        what: What to call the list in an error, such as ``run.callbacks``.

    Raises:
        UserError: One of them is none, or cannot be built.
    """
    found: list[T] = []
    for one in given:
        if isinstance(one, base):
            found.append(one)
        elif isinstance(one, type) and issubclass(one, base):
            found.append(one())
        elif isinstance(one, str | Mapping):
            try:
                found.append(build(one, base))
            except UserError as error:
                raise UserError(f"{what}: {error}") from error
        else:
            raise UserError(
                f"{what} holds {one!r}; give a subclass of {base.__module__}.{base.__qualname__}, an object of one, or "
                "its dotted path"
            )
    return found
