"""Ending a run before its last step, with the schedules of its whole length: it can go on later, to the bit."""

from __future__ import annotations

from gendistill.errors import UserError
from gendistill.runs.callbacks import Callback, Now


class Until(Callback):
    """End a run after a step.

    Args:
        step: After which, at least 1; a run that is beyond it ends after its next one.

    Raises:
        UserError: ``step`` is below 1.
    """

    every = 1

    def __init__(self, step: int) -> None:
        if step < 1:
            raise UserError(f"step is {step}; give the step after which the run is to end, at least 1")
        self.step = step

    def on_step(self, now: Now) -> None:
        """End the run at its step."""
        if self.step <= now.step < now.steps:
            now.stop(f"looked at after {self.step} steps")
