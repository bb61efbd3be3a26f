"""What makes a run faster here, found by a short trial: memory format, chunk, compilation, precision, threads.

A trial never touches the run. It makes its first steps in copies of the trainer, each with random streams of its own,
and takes what pays: :func:`search` decides by times alone. What it may choose changes results by rounding only.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.notes import collected
from gendistill.runs.choice import Choice, as_options, of_run, of_trainer, write_choice
from gendistill.runs.context import RunContext
from gendistill.runs.observe import GlobalRandomness
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams

PILOT = 2
"""Steps that are made before it is decided whether a trial is worth its time; the second one is the measure."""
SHORTEST = 600.0
"""Seconds that must be left for a trial to be made."""
SHARE, LONGEST = 0.05, 1800.0
"""Of the time that is left a trial may take this share, and so many seconds."""
COMPILING = 30.0
"""Seconds that compiling is reckoned to take before any was seen."""
GAIN = 1.05
"""A way is taken when it is so many times as fast as the best before."""
SLOW = 5.0
"""A step that takes so many seconds is timed once, others twice."""
TOLERANCE = 0.05
"""How far a first step's metrics may lie from those of the options as given, relative to the larger (at least 1)."""
Candidate = tuple[str, Any]


@dataclass(frozen=True)
class Timing:
    """How fast one way is.

    Attributes:
        step: Seconds a step.
        start: Seconds until the first step was made, beyond what a step takes: building, compiling.
        values: Metrics of the first step.
    """

    step: float
    start: float
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Found:
    """What a trial found.

    Attributes:
        chosen: Values by option.
        factor: How many times as fast as given.
        factors: What each way that was timed did to the time of the best before it: option, value, times as fast.
        lines: What else a person should know.
        seconds: Time that it took.
    """

    chosen: Choice
    factor: float
    factors: list[tuple[str, Any, float]]
    lines: list[str]
    seconds: float

    def sentence(self) -> str:
        """Return the line that a run says."""
        tried = ", ".join(f"{write_choice({option: value})} {factor:.2f}" for option, value, factor in self.factors)
        took = f"tuned in {self.seconds:.0f} s (run.tune)"
        if not self.chosen:
            return f"{took}: the options as given are the fastest here ({tried or 'nothing could be tried'})"
        return (
            f"{took}: {self.factor:.2f} times as fast as given (times as fast, one after another: {tried}); by hand: "
            f"{as_options(self.chosen)}"
        )


def budget(seconds_left: float) -> float:
    """Return the seconds that a trial may take; 0: none is made.

    Args:
        seconds_left: What the steps to come would take as things are.
    """
    return 0.0 if seconds_left < SHORTEST else min(SHARE * seconds_left, LONGEST)


def search(
    candidates: Sequence[Candidate],
    measure: Callable[[Choice, float], Timing],
    *,
    steps: int,
    seconds: float,
    again: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    stopped: Callable[[], bool] = lambda: False,
    given: Mapping[str, Any] | None = None,
) -> Found:
    """Try one way after another on top of the best before, and keep what saves time over all steps.

    Args:
        candidates: Options and values, in the order in which they are tried.
        measure: Times a choice; told the best time of a step so far, beyond which it need not look closely. What it
            raises drops the candidate.
        steps: Steps that are to come.
        seconds: Time that the trial may take; no way is begun that is likely to go beyond.
        again: Seconds that the run learns anew before its first step if it takes one of :data:`LEARNED_IN`.
        clock: Tells the time.
        stopped: Whether to stop here.
        given: Values of options as given, to say which asked-for one is slow.
    """
    began = clock()
    base = best = measure({}, math.inf)
    chosen: Choice = {}
    factors: list[tuple[str, Any, float]] = []
    lines: list[str] = []
    compiling = COMPILING
    for option, value in candidates:
        way = write_choice({option: value})
        compiles = option == "run.compile" or bool(chosen.get("run.compile"))
        likely = base.start + 3 * best.step + (compiling if compiles else 0.0)
        if stopped() or clock() - began + likely > seconds:
            continue
        try:
            timing = measure({**chosen, option: value}, best.step)
        except Exception as error:  # whatever a way that is not needed may raise: the run goes another
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            lines.append(f"{way} cannot be used here: {reason}")
            continue
        if compiles:
            compiling = max(timing.start - base.start, 1.0)
        if not _agree(base.values, timing.values):
            lines.append(f"{way} is left alone: its first step differs by more than rounding")
            continue
        factor = best.step / timing.step
        factors.append((option, value, factor))
        # What an option before it has already cost is not asked for twice.
        anew = again if option in LEARNED_IN and not any(one in LEARNED_IN for one in chosen) else 0.0
        if factor >= GAIN and (best.step - timing.step) * steps > timing.start - base.start + anew:
            if option == "run.precision" and given and given.get(option):
                lines.append(
                    f"precision {given[option]} was asked for and is {factor:.1f} times slower here than {value}"
                )
            chosen[option], best = value, timing
    return Found(chosen, base.step / best.step, factors, lines, clock() - began)


def _agree(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Return whether metrics of the same step are the same but for rounding; those that are no numbers in both do."""
    for name in one.keys() & other.keys():
        first, second = one[name], other[name]
        if math.isfinite(first) or math.isfinite(second):
            close = abs(first - second) <= TOLERANCE * max(abs(first), abs(second), 1.0)
            if not close:
                return False
    return True


class Trial:
    """Times choices in copies of a trainer.

    Args:
        before: The trainer's attributes before it was attached.
        kind: Its class.
        run: The run, for its options, directory and device.
        data: The data.
        randomness: Torch's global generators, lent to the run.
        first: Where these stood before the run built anything.
    """

    def __init__(
        self,
        before: Mapping[str, Any],
        kind: type,
        run: RunContext,
        data: RealData,
        randomness: GlobalRandomness,
        first: dict[str, Tensor],
    ) -> None:
        self.before, self.kind, self.run, self.data = before, kind, run, data
        self.randomness, self.first = randomness, first

    def candidates(self) -> list[Candidate]:
        """Return what is tried: what the trainer offers and nobody has set, float32 in place of bfloat16, threads."""
        options, plain = self.run.options, RunOptions()
        offered = self._trainer({}).tunable(self.run.device)
        found: list[Candidate] = []
        for option, values in offered.items():
            field_name = option.removeprefix("run.")
            if option.startswith("run.") and getattr(options, field_name) != getattr(plain, field_name):
                continue
            found += [(option, value) for value in values]
        if options.precision != plain.precision:
            found.append(("run.precision", plain.precision))
        threads = torch.get_num_threads()
        if self.run.device.type == "cpu" and options.threads is None and threads > 1:
            found.append(("run.threads", threads // 2))
        return sorted(found, key=lambda one: ORDER.index(one[0]) if one[0] in ORDER else 0)

    def _trainer(self, chosen: Choice) -> Any:
        trainer: Any = object.__new__(self.kind)
        vars(trainer).update(copy.deepcopy(dict(self.before)))
        for option, value in of_trainer(chosen).items():
            trainer.tune(option, value)
        return trainer

    def measure(self, chosen: Choice, best: float) -> Timing:
        """Make the run's first steps as chosen, in a copy; see :func:`search`."""
        trainer = self._trainer(chosen)
        options = replace(self.run.options, tune="off", progress=False, **of_run(chosen))
        device = self.run.device
        streams = Streams(options.seed, device)
        run = RunContext(options, self.run.directory, device, streams, self.run.processes, trial=True)
        state = self.randomness.state_dict()
        with threads_of(options), collected():
            # On one core of a busy machine the processor's time says more than that on the wall.
            alone = device.type == "cpu" and torch.get_num_threads() == 1
            clock = time.process_time if alone else time.perf_counter
            began = clock()
            try:
                self.randomness.load_state_dict(self.first)
                trainer.attach(run, self.data)
                seconds, values = [], {}
                for step in range(3):
                    now = clock()
                    metrics = trainer.train_step(trainer.next_batch())
                    if device.type == "cuda":
                        torch.cuda.synchronize(device)
                    seconds.append(clock() - now)
                    run.step += 1
                    if step == 0:
                        first = now + seconds[0] - began
                        values = {name: float(value.detach()) for name, value in metrics.items()}
                    elif seconds[-1] > min(SLOW, 1.5 * best):
                        break
            finally:
                self.randomness.load_state_dict(state)
                if options.compile:
                    torch._dynamo.reset()  # else the copies together use up how often one code may be compiled
        step_seconds = min(seconds[1:])
        return Timing(step_seconds, max(0.0, first - step_seconds), values)


LEARNED_IN = ("run.channels_last", "run.precision")
"""Options that change, by rounding, what a run learns before its first step."""
ORDER = ("trainer.chunk", "run.compile", "run.precision", "run.channels_last", "run.threads")
"""In which options are tried: those first on which the others depend."""


@contextmanager
def threads_of(options: RunOptions) -> Iterator[None]:
    """Let torch have the run's number of threads inside."""
    before = torch.get_num_threads()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
