"""When groups of a multi-group GAN exchange their discriminators, and at which rates they learn; Wu 2022, chapter 3.

Three periods. A: no exchange, until the loss no longer falls. B: an exchange after every interval, which grows; around
each one is a window in which a group whose loss stands still learns at a rate that grows (Algorithm 1). C: exchanges
bring no new lowest loss any more. docs/methods/mggan.md has each point that the thesis leaves open, and its reading.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor

from gendistill.declared import require_types
from gendistill.errors import UserError, did_you_mean

Pairing = Literal["derangement", "permutation", "cyclic"]
Unit = Literal["iteration", "epoch"]
PeriodA = Literal["plateau", "fixed"]
PeriodC = Literal["freeze", "continue", "stop"]
EPSILON = 1e-8
"""Least loss that a variation is a ratio to."""


@dataclass(frozen=True)
class Schedule:
    """What a run asks of its exchanges.

    Args:
        interval: T: steps (or epochs) between two exchanges at first; 0: there are none, the groups are an ensemble.
        interval_unit: What an interval counts: ``iteration`` or ``epoch``; the thesis does not say.
        interval_growth: xi: factor of the interval after each exchange, at least 1.
        longest_interval: The interval grows up to here.
        pairing: Who gets whose discriminator: a uniformly random ``derangement`` (nobody keeps their own; of two groups
            a swap), any ``permutation``, or the next one's (``cyclic``).
        period_a: The first exchange comes with the loss's ``plateau``, or after ``first_interval`` (``fixed``).
        first_interval: Its latest step (or epoch).
        plateau_window: Steps over which the loss must fall.
        plateau_decrease: By this fraction of itself, or it is a plateau.
        window: alpha: steps before and after an exchange in which rates may grow; 0: they never do.
        rate_growth: delta: a step in the window multiplies the rate by 1 + delta.
        rate_cap: Largest rate, as a multiple of the rate at the start.
        variation: gamma-bar: rates grow for a group whose loss varies by no more than this fraction.
        smoothing: Of the loss before its variation is taken, in [0, 1); 0 is literal.
        period_c: When ``patience`` exchanges brought no new lowest loss: ``freeze`` the rates and take the longest
            interval, ``continue`` as before, or ``stop`` exchanging.
        patience: Exchanges without a new lowest loss that begin period C.

    Raises:
        UserError: An option is out of range, or windows would overlap.
    """

    interval: int = 100
    interval_unit: Unit = "iteration"
    interval_growth: float = 1.2
    longest_interval: int = 200
    pairing: Pairing = "derangement"
    period_a: PeriodA = "plateau"
    first_interval: int = 1000
    plateau_window: int = 200
    plateau_decrease: float = 0.01
    window: int = 10
    rate_growth: float = 0.1
    rate_cap: float = 5.0
    variation: float = 0.05
    smoothing: float = 0.9
    period_c: PeriodC = "freeze"
    patience: int = 2

    def __post_init__(self) -> None:
        words = {"interval_unit": Unit, "pairing": Pairing, "period_a": PeriodA, "period_c": PeriodC}
        for name, kind in words.items():
            value, allowed = getattr(self, name), get_args(kind)
            if value not in allowed:
                hint = did_you_mean(str(value), allowed)
                raise UserError(f"schedule.{name} is {value!r}; {hint}choose one of {', '.join(allowed)}")
        least = {
            "interval": 0,
            "longest_interval": 1,
            "first_interval": 1,
            "plateau_window": 1,
            "window": 0,
            "patience": 1,
        }
        for name, lowest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise UserError(f"schedule.{name} is {value!r}; give a whole number from {lowest}")
        if self.interval_growth < 1 or self.rate_cap < 1:
            raise UserError(
                f"schedule.interval_growth ({self.interval_growth}) and rate_cap ({self.rate_cap}) must be at least 1"
            )
        if min(self.rate_growth, self.variation, self.plateau_decrease) < 0 or not 0 <= self.smoothing < 1:
            raise UserError(
                f"schedule.rate_growth ({self.rate_growth}), variation ({self.variation}) and plateau_decrease "
                f"({self.plateau_decrease}) must be at least 0, and smoothing ({self.smoothing}) in [0, 1)"
            )
        if self.interval > self.longest_interval:
            raise UserError(
                f"schedule.interval {self.interval} is above longest_interval {self.longest_interval}; raise the latter"
            )
        if self.interval and self.interval_unit == "iteration":
            self.require_apart(self.interval)
        if self.interval and self.window and self.period_a == "plateau" and self.plateau_window < 2 * self.window + 2:
            raise UserError(
                f"schedule.plateau_window {self.plateau_window} may end period A within a window of {self.window} "
                f"steps; give it at least {2 * self.window + 2}"
            )

    def require_apart(self, interval: int) -> None:
        """Refuse an interval (steps) in which the windows of two exchanges would overlap.

        Raises:
            UserError: It is below 2 window + 2.
        """
        if self.window and interval < 2 * self.window + 2:
            raise UserError(
                f"an interval of {interval} steps is too short for windows of {self.window} steps on both sides of an "
                f"exchange; give schedule.interval at least {2 * self.window + 2}, or a smaller schedule.window"
            )

    @classmethod
    def of(cls, given: Any) -> Self:
        """Return the schedule of a config's keys.

        Raises:
            UserError: A key is unknown, or a value out of range.
        """
        if isinstance(given, cls):
            return given
        known = {field.name for field in fields(cls)}
        for key in given or {}:
            if key not in known:
                raise UserError(f"unknown key 'schedule.{key}'; {did_you_mean(str(key), known) or sorted(known)}")
        require_types(cls, given or {}, "schedule")
        return cls(**(given or {}))


PRESETS: dict[str, dict[str, Any]] = {
    "mggan": {},
    "gap": {"period_a": "fixed", "interval_growth": 1.0, "window": 0, "period_c": "continue"},
    "ensemble": {"interval": 0},
}
"""``mggan`` is the thesis'; ``gap`` exchanges at a fixed interval (Im et al. 2016); ``ensemble`` never does."""


class Regrouping:
    """The state of the exchanges: asked once after every step.

    Losses stay on their device: they are read at a plateau's check, in windows and at exchanges, and not else.

    Args:
        schedule: What the run asks.
        groups: Their number.
        epoch: Steps of an epoch, for intervals in epochs.
    """

    def __init__(self, schedule: Schedule, groups: int, epoch: int = 1) -> None:
        self.schedule, self.groups = schedule, groups
        self.unit = epoch if schedule.interval_unit == "epoch" else 1
        if schedule.interval:
            schedule.require_apart(schedule.interval * self.unit)
        self.off = groups == 1 or not schedule.interval
        self.period = "A"
        self.interval = float(schedule.interval * self.unit)
        self.centre: int | None = None
        self.next: int | None = None
        self.exchanges: list[int] = []
        self.factors = [1.0] * groups
        self.lowest: list[float] | None = None
        self.without_gain = 0
        self._mean: Tensor | None = None
        self._before: Tensor | None = None
        self._mark: Tensor | None = None
        self._least: Tensor | None = None

    @property
    def longest(self) -> int:
        """The longest interval in steps."""
        return self.schedule.longest_interval * self.unit

    def after(self, step: int, losses: Tensor) -> bool:
        """Take in the losses of a step; return whether the groups exchange their discriminators now.

        Args:
            step: Steps done, from 1.
            losses: (k,) losses of the generators, on any device.
        """
        if self.off:
            return False
        self._take_in(losses.detach().float())
        exchange = self._exchange(step)
        if exchange:
            self.exchanges.append(step)
        if self.period == "B" and self.schedule.window:
            self._rates(step)
        return exchange

    def _take_in(self, losses: Tensor) -> None:
        self._before = self._mean
        smoothing = self.schedule.smoothing
        self._mean = losses if self._before is None else smoothing * self._before + (1 - smoothing) * losses
        self._least = self._mean if self._least is None else torch.minimum(self._least, self._mean)
        if self._mark is None:
            self._mark = self._mean

    def _exchange(self, step: int) -> bool:
        if self.period == "A":
            if not self._a_ends(step):
                return False
            self.period = "B"
            if self.schedule.period_a == "plateau":  # T_0 is the length of period A
                self.interval = float(min(step, self.longest))
            self._nothing_gained()
        elif step != self.next:
            return False
        elif self._nothing_gained() and self.schedule.period_c != "continue":
            self.period, self.interval = "C", float(self.longest)
            self.factors = [1.0] * self.groups
        else:
            self.interval = min(self.interval * self.schedule.interval_growth, float(self.longest))
        self.centre, self.next = step, step + round(self.interval)
        return not (self.period == "C" and self.schedule.period_c == "stop")

    def _a_ends(self, step: int) -> bool:
        if step >= self.schedule.first_interval * self.unit:
            return True
        if self.schedule.period_a == "fixed" or step % self.schedule.plateau_window:
            return False
        assert self._mean is not None and self._mark is not None
        fallen = (self._mark - self._mean) / self._mark.abs().clamp(min=EPSILON)
        self._mark = self._mean
        return bool((fallen < self.schedule.plateau_decrease).all())

    def _nothing_gained(self) -> bool:
        """Return whether the last exchanges brought no group a new lowest loss; begins to look anew."""
        assert self._least is not None
        found, self._least = self._least.tolist(), None
        known = self.lowest or [float("inf")] * self.groups
        gained = any(new < old for new, old in zip(found, known, strict=True))
        self.lowest = [min(pair) for pair in zip(found, known, strict=True)]
        self.without_gain = 0 if gained else self.without_gain + 1
        return self.without_gain >= self.schedule.patience

    def _rates(self, step: int) -> None:
        """Let the rates grow in a window, and put them back behind it."""
        assert self.centre is not None and self.next is not None and self._mean is not None
        width = self.schedule.window
        if step == self.centre + width + 1:
            self.factors = [1.0] * self.groups
        if self._before is None or not (step <= self.centre + width or step >= self.next - width):
            return
        variation = (self._before - self._mean).abs() / self._mean.abs().clamp(min=EPSILON)
        for group, stands_still in enumerate((variation <= self.schedule.variation).tolist()):
            if stands_still:
                grown = self.factors[group] * (1 + self.schedule.rate_growth)
                self.factors[group] = min(grown, self.schedule.rate_cap)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        return {name: getattr(self, name) for name in KEPT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        for name in KEPT:
            setattr(self, name, state[name])
        self.exchanges, self.factors = list(self.exchanges), list(self.factors)


KEPT = (
    "period", "interval", "centre", "next", "exchanges", "factors", "lowest", "without_gain", "_mean", "_before",
    "_mark", "_least",
)  # fmt: skip


def pairing(kind: Pairing, count: int, generator: torch.Generator) -> list[int]:
    """Return for each of ``count`` groups whose discriminator it gets.

    Args:
        kind: ``derangement`` (uniform among those in which nobody keeps their own), ``permutation`` or ``cyclic``.
        count: Groups, at least 1; one alone keeps its own.
        generator: A generator of the CPU.
    """
    if count == 1:
        return [0]
    if kind == "cyclic":
        return [*range(1, count), 0]
    while True:  # e tries on average
        drawn: list[int] = torch.randperm(count, generator=generator).tolist()
        if kind == "permutation" or all(place != number for place, number in enumerate(drawn)):
            return drawn
