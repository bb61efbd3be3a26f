"""The options of inner training: one block, ``inner``, of every trainer and term that has learners of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from gendistill.declared import require_types
from gendistill.errors import UserError, did_you_mean
from gendistill.unroll import MEMORY_MODES, Memory, Optimizer

Statistics = Literal["batch", "running"]
Precision = Literal["float32", "bfloat16"]
WindowEnd = Literal["random", "last"]
Gradient = Literal["exact", "shortcut"]

BLOCK = "inner"


@dataclass(frozen=True, kw_only=True)
class InnerOptions:
    """How learners are trained inside, and how that is differentiated.

    Args:
        steps: T, the steps that a learner takes; at least 1.
        optimizer: How learners move: ``sgd`` (with momentum, where there is one) or ``adam``, which has no momenta.
        window: Differentiate only so many of a learner's steps, 1..T, those before the window's end; the steps before
            them leave no graph (RaT-BPTT, Feng et al. 2024). None: all.
        window_end: Where the window ends, and training with it: after a ``random`` one of the steps window..T, drawn
            for every meta-step, or after the ``last`` one.
        memory: What is kept for the way back: ``full`` (fastest; the graphs of all steps), ``recompute`` (one step's
            graph at a time, for a third more time) or ``sqrt`` (between); see :mod:`gendistill.unroll`.
        gradient: ``exact``, or ``shortcut``: TESLA's, which takes a learner's path for given and is biased
            (:mod:`gendistill.unroll.direct`); plain SGD and a look at the end only.
        statistics: What normalises real images when a learner is looked at: ``batch``, their own batch's statistics, or
            ``running``, those that its training left in the learner, as in evaluation. None: running for learners
            with mean-only batch norm (:class:`gendistill.nets.weight_normalised.MeanOnlyBatchNorm`), else batch.
        batched: Whether learners of one architecture are trained at once, by vmap over stacked weights, instead of one
            after another: the same gradients, for more memory. None: on a GPU.
        precision: What learners' forward passes are made in while they train, ``float32`` or ``bfloat16``; None: the
            run's precision.

    Raises:
        UserError: An option is out of range.
    """

    steps: int = 10
    optimizer: Optimizer = "sgd"
    window: int | None = None
    window_end: WindowEnd = "random"
    memory: Memory = "full"
    gradient: Gradient = "exact"
    statistics: Statistics | None = "batch"
    batched: bool | None = None
    precision: Precision | None = None

    def __post_init__(self) -> None:
        for name, allowed in WORDS.items():
            word = getattr(self, name)
            if word not in allowed and not (word is None and name in ("statistics", "precision")):
                hint = did_you_mean(str(word), allowed)
                raise UserError(f"{BLOCK}.{name} is '{word}'; {hint}use one of: {', '.join(allowed)}")
        self.require_count("steps")
        window, total = self.window, self.total
        if window is not None and (not _whole(window) or not 1 <= window <= total):
            raise UserError(f"{BLOCK}.window is {window}; it must lie in 1..{total} ({self.total_words})")
        if self.gradient == "shortcut":
            clashing = {
                "optimizer": (self.optimizer, "sgd"),
                "window": (window, None),
                "statistics": (self.statistics, "batch"),
            }
            for name, (given, needed) in clashing.items():
                if given != needed:
                    raise UserError(
                        f"{BLOCK}.{name} is {given}, which the shortcut cannot differentiate; set {BLOCK}.{name} to "
                        f"{'null' if needed is None else needed}, or {BLOCK}.gradient to exact"
                    )

    @property
    def total(self) -> int:
        """Steps that a learner takes in all."""
        return self.steps

    @property
    def total_words(self) -> str:
        """What says how many they are."""
        return f"{BLOCK}.steps"

    @classmethod
    def of(cls, given: InnerOptions | Mapping[str, Any] | None, **defaults: Any) -> Self:
        """Return the options that a config gives.

        Args:
            given: The options, or those that are not left at their defaults, by name.
            **defaults: Taken where ``given`` is a mapping, or None, that does not say.

        Raises:
            UserError: An option is unknown, or out of range.
        """
        if isinstance(given, cls):
            return given
        if given is not None and not isinstance(given, Mapping):
            raise UserError(f"{BLOCK} is {given!r}; give keys and values, such as {BLOCK}: {{steps: 10}}")
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                hint = did_you_mean(str(name), known)
                raise UserError(f"there is no option {BLOCK}.{name} here; {hint}choose among: {', '.join(known)}")
        require_types(cls, given or {}, BLOCK)
        return cls(**(defaults | dict(given or {})))

    def require_count(self, name: str, least: int = 1) -> None:
        """Refuse an option that is no whole number from ``least`` on; None is let through.

        Raises:
            UserError: Names the option and its value.
        """
        value = getattr(self, name)
        if value is not None and not (_whole(value) and value >= least):
            raise UserError(f"{BLOCK}.{name} is {value!r}; give a whole number from {least}")

    def require_exact(self, why: str) -> None:
        """Refuse the shortcut.

        Args:
            why: What it cannot go with, as a sentence without a full stop.

        Raises:
            UserError: It was asked for.
        """
        if self.gradient == "shortcut":
            raise UserError(f"{BLOCK}.gradient is shortcut, but {why}; set it to exact")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


WORDS: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(Optimizer),
    "window_end": get_args(WindowEnd),
    "memory": MEMORY_MODES,
    "gradient": get_args(Gradient),
    "statistics": get_args(Statistics),
    "precision": get_args(Precision),
}
