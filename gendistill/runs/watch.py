"""What goes wrong without a NaN: a learned rate that falls to 0, images that never move, learners at chance.

A method says what of it is to be watched (:class:`Watched`); :class:`Watch` looks whenever metrics are logged, where
the program waits for the device anyway. What it finds is said once while the run goes on, and again at its end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gendistill.json_file import Is, Keys, list_of, real, table_of, text, whole
from gendistill.teacher.base import SMALLEST_RATE, Teacher, rates_at_fault

FAR = 100.0
"""Times the norm at the start from which on what is moved has run away."""
MANY = 5
"""Steps for which a gradient is 0, or something does not move, until it is said."""
CHANCE_ERRORS = 2.0
"""Standard errors above chance from which an accuracy is more than chance."""


@dataclass(frozen=True)
class Watched:
    """What a method asks to be watched; all of it may be left out.

    Attributes:
        rates: Learned learning rates of learners, of any shape.
        rates_option: The option whose value moves them too far, as it is typed.
        moved: What the method is there to move, by its name in a sentence (``the images``).
        moved_option: The option whose value moves it too far, as it is typed.
        gradients: Metrics that are norms of gradients, with what they are gradients of.
        accuracy: Metric that is the accuracy of learners on real training images.
        accuracy_images: Images that one step measures it on.
        collapsed: Metrics that are not to stay as near to 0 as the number beside them, and what it means if they do.
    """

    rates: Tensor | None = None
    rates_option: str = ""
    moved: Mapping[str, Sequence[Tensor]] = field(default_factory=dict)
    moved_option: str = ""
    gradients: Mapping[str, str] = field(default_factory=dict)
    accuracy: str | None = None
    accuracy_images: int = 1
    collapsed: Mapping[str, tuple[float, str]] = field(default_factory=dict)


SUMS = Is(table_of(lambda value: list_of(real)(value) and len(value) == 2), "two sums by name")
WATCH = Keys(
    required={
        "found": Is(table_of(text), "sentences by name"),
        "said": Is(list_of(text), "a list of names"),
        "looked_at": Is(whole, "a number of steps"),
        "start": SUMS,
        "last": SUMS,
        "still": Is(table_of(whole), "numbers of steps by name"),
    },
    optional={"useless": Is(text, "a sentence")},
)
"""What :meth:`Watch.state_dict` returns."""


class Watch:
    """Looks at a run.

    Args:
        chance: Accuracy of a guesser on the training images: the share of the largest class.

    Attributes:
        found: What is wrong at the last look, as sentences without a full stop, by what they are about.
        useless: What makes the teacher useless; None: nothing.
    """

    def __init__(self, chance: float) -> None:
        self.chance = chance
        self.found: dict[str, str] = {}
        self.useless: str | None = None
        self._said: set[str] = set()
        self._looked_at = 0
        self._start: dict[str, list[float]] = {}
        self._last: dict[str, list[float]] = {}
        self._still: dict[str, int] = {}
        self._moved_option = ""

    @property
    def sentences(self) -> list[str]:
        """What is wrong at the last look."""
        return list(self.found.values())

    def begin(self, step: int, watched: Watched) -> None:
        """Note how things are before the first step, or where an older state is continued."""
        sums, _ = _read(watched)
        self._looked_at, self._start, self._last = step, sums, sums

    def look(self, step: int, means: Mapping[str, float], watched: Watched, *, last: bool) -> list[str]:
        """Look at a run; return what is wrong and was not said yet.

        Args:
            step: Completed steps.
            means: Means of the metrics since the last look.
            watched: What the method asks to be watched.
            last: Whether the run ends here.
        """
        steps, self._looked_at = step - self._looked_at, step
        sums, rates = _read(watched)
        self.found, self.useless = {}, None
        self._rates(rates, watched)
        self._moved_option = watched.moved_option
        self._moved(steps, sums, last)
        for metric, of in watched.gradients.items():
            if self._lasting(metric, means.get(metric) == 0.0, steps):
                self.found[metric] = f"{of} is exactly 0: nothing is learned any more"
        for metric, (limit, meaning) in watched.collapsed.items():
            if self._lasting(metric, abs(means.get(metric, math.inf)) <= limit, steps):
                self.found[metric] = meaning
        if last and watched.accuracy is not None and watched.accuracy in means:
            self._accuracy(means[watched.accuracy], steps * watched.accuracy_images)
        fresh = [sentence for about, sentence in self.found.items() if about not in self._said]
        self._said |= set(self.found)
        return fresh

    def _rates(self, rates: list[float], watched: Watched) -> None:
        if not rates:
            return
        smallest, largest = rates
        self._judge(smallest, largest, f"; choose a smaller {watched.rates_option}" if watched.rates_option else "")

    def judge(self, teacher: Teacher) -> None:
        """Look at the rates of a teacher that is about to be written, where the method did not ask for it itself."""
        if teacher.learning_rates is not None and "rates" not in self.found:
            self._judge(float(teacher.learning_rates.min()), float(teacher.learning_rates.max()), "")

    def _judge(self, smallest: float, largest: float, way_out: str) -> None:
        if (fault := rates_at_fault(smallest, largest)) is not None:
            self.found["rates"] = fault + way_out
            self.useless = self.found["rates"] if largest < SMALLEST_RATE else None

    def _moved(self, steps: int, sums: dict[str, list[float]], last: bool) -> None:
        for name, now in sums.items():
            stays = self._lasting(name, self._last.get(name) == now, steps)
            if last and self._start.get(name) == now:
                self.found[name] = f"{name} never moved: they are still what the run started from"
            elif stays:
                self.found[name] = f"{name} do not move any more"
            elif (start := self._start.get(name)) and now[1] > FAR * start[1] > 0:
                self.found[name] = (
                    f"{name} have run away: their norm is {now[1] / start[1]:.3g} times that at the start"
                    f"{f'; choose a smaller {self._moved_option}' if self._moved_option else ''}"
                )
        self._last = sums

    def _accuracy(self, accuracy: float, images: int) -> None:
        error = math.sqrt(self.chance * (1 - self.chance) / max(images, 1))
        if accuracy <= self.chance + CHANCE_ERRORS * error:
            self.found["accuracy"] = (
                f"learners are at chance at the end: {100 * accuracy:.1f} % of {images:,} real training images, where "
                f"guessing gives {100 * self.chance:.1f} %"
            )

    def _lasting(self, name: str, now: bool, steps: int) -> bool:
        """Return whether something has been so for many steps."""
        self._still[name] = self._still.get(name, 0) + steps if now else 0
        return self._still[name] >= MANY

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen, so that a run in parts says what a run in one part says."""
        return {
            "found": dict(self.found),
            "useless": self.useless,
            "said": sorted(self._said),
            "looked_at": self._looked_at,
            "start": self._start,
            "last": self._last,
            "still": dict(self._still),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        self.found, self.useless = dict(state["found"]), state["useless"]
        self._said, self._looked_at = set(state["said"]), int(state["looked_at"])
        self._start, self._last, self._still = dict(state["start"]), dict(state["last"]), dict(state["still"])


def _read(watched: Watched) -> tuple[dict[str, list[float]], list[float]]:
    """Return two sums of all that moves, by name, and the smallest and largest rate, with one look at the device."""
    waiting: list[Tensor] = []
    with torch.no_grad():
        for tensors in watched.moved.values():
            parts = [tensor.detach() for tensor in tensors]
            waiting.append(torch.stack([part.sum(dtype=torch.float64) for part in parts]).sum())
            waiting.append(torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in parts]).sum())
        if watched.rates is not None and watched.rates.numel():
            waiting += [watched.rates.detach().double().min(), watched.rates.detach().double().max()]
    if not waiting:
        return {}, []
    numbers = torch.stack([value.to(waiting[-1].device) for value in waiting]).tolist()
    sums = {name: numbers[2 * place : 2 * place + 2] for place, name in enumerate(watched.moved)}
    return sums, numbers[2 * len(watched.moved) :]
