"""What one run chose for speed: read from its state or its options, or found after its first steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from gendistill.bfloat16 import slowdown
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.runs.choice import Choice, of_run, of_trainer, parse_choice, write_choice
from gendistill.runs.context import RunContext
from gendistill.runs.observe import GlobalRandomness
from gendistill.runs.tune import PILOT, Found, Trial, budget, search
from gendistill.seeds import Streams


class Tuning:
    """The choice of a run, and whether it is still to be made.

    It is made where a run that began anew has done :data:`~gendistill.runs.tune.PILOT` steps and would take long. The
    run then begins again from nothing, as if its options had been those chosen: no state, log line or picture was made.

    Args:
        trainer: The method, not yet attached.
        run: The run.
        randomness: Torch's global generators, lent to the run.
    """

    def __init__(self, trainer: Any, run: RunContext, randomness: GlobalRandomness) -> None:
        self.trainer, self.run, self.randomness = trainer, run, randomness
        self.chosen: Choice = {}
        self.open = False
        self.building = 0.0
        """Seconds that it takes to attach the trainer, which a trial does again and again.

        Without those of what the run has learned and kept before its first step, which a trial takes as it is.
        """

    @property
    def word(self) -> str:
        """What a state and ``config.yaml`` say: the choice in one line, or ``off``."""
        return write_choice(self.chosen)

    def begin(self, saved: str | None, continued: bool) -> None:
        """Take the choice that is known before anything is built.

        Args:
            saved: What the state says, None where there is none or it is older than choices are.
            continued: Whether there is a state.
        """
        text = str(self.run.options.tune) if saved is None else saved
        known = parse_choice(text)
        if known is not None and (saved is not None or not continued):
            self.take(known)
        fresh = not continued and text == "auto"
        if fresh and self.run.processes.world == 1:
            self.leave_bfloat16()
        options = self.run.options
        quiet = min(options.save_every, options.log_every, options.sample_every or PILOT + 1) > PILOT
        wanted = fresh and options.steps > PILOT
        self.open = wanted and quiet and self.run.processes.world == 1 and hasattr(self.trainer, "tunable")
        if self.open:
            self.first = self.randomness.state_dict()
            try:
                self.before = copy.deepcopy(vars(self.trainer))
            except Exception:  # it holds something that cannot be copied, so there are no copies to try things in
                self.open = False

    def take(self, chosen: Choice) -> None:
        """Set options of the run and of the trainer, which is not attached."""
        try:
            self.run.options = replace(self.run.options, **of_run(chosen))
        except TypeError as error:
            raise UserError(
                f"run.tune is {write_choice(chosen)!r}, which names an option that a run has not"
            ) from error
        for option, value in of_trainer(chosen).items():
            self.trainer.tune(option, value)
        self.chosen = chosen

    def leave_bfloat16(self) -> None:
        """Take float32 where bfloat16 was asked for and the processor has no instructions for it.

        It needs no trial, and what a run learns before its first step, such as a pool of networks, comes before one.
        """
        if self.run.options.precision == "bfloat16" and (factor := slowdown(self.run.device)):
            self.take({"run.precision": "float32"})
            note(f"bfloat16 was asked for and is {factor:.0f} times slower here than float32, which is taken "
                 "(--run.tune off keeps bfloat16)")  # fmt: skip

    def pays(self, seconds: float) -> bool:
        """Return whether it is the time for a trial and one is worth its time; asked after every step.

        Args:
            seconds: What the step took.
        """
        if not self.open or self.run.step < PILOT:
            return False
        self.open = False
        left = seconds * (self.run.options.steps - PILOT)
        self.allowed = budget(left) - self.building  # after it the run itself is built once more
        return self.allowed > 2 * (self.building + (PILOT + 1) * seconds)

    def find(self, data: RealData, stopped: Callable[[], bool]) -> Found:
        """Make the trial; afterwards the run stands at its beginning, and the trainer waits to be attached.

        Args:
            data: The run's data, on its device.
            stopped: Whether the run is to stop.
        """
        run = self.run
        # What was built goes first, so that it is not in memory beside the copies.
        vars(self.trainer).clear()
        trial = Trial(self.before, type(self.trainer), run, data, self.randomness, self.first)
        try:
            found = search(
                trial.candidates(),
                trial.measure,
                steps=run.options.steps,
                seconds=self.allowed,
                again=run.learned,
                stopped=stopped,
                given={"run.precision": run.options.precision},
            )
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            found = Found({}, 1.0, [], [f"run.tune could try nothing here: {reason}"], 0.0)
        vars(self.trainer).update(copy.deepcopy(self.before))
        run.step, run.streams = 0, Streams(run.options.seed, run.device)
        self.randomness.load_state_dict(self.first)
        self.take({**self.chosen, **found.chosen})
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        return found
