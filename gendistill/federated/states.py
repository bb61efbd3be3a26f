"""The saved states of one half: the last two, each of a round, so that both sides find one that they share."""

from __future__ import annotations

from typing import Any

import torch

from gendistill.data.fingerprint import require_unchanged
from gendistill.errors import UserError
from gendistill.runs.checkpoint import DamagedState, read_state, save_state
from gendistill.runs.directory import RunDirectory


class States:
    """Saved states in a run's directory, by round.

    Args:
        directory: Where; None keeps none.
        data: What the data hold (:func:`gendistill.data.fingerprint.contents`); a half is not continued with others.

    Raises:
        UserError: The data changed.
    """

    def __init__(self, directory: RunDirectory | None, data: dict[str, Any] | None = None) -> None:
        self.directory, self.data = directory, data
        self.kept: dict[int, Any] = {}
        if directory is None:
            return
        directory.make()
        directory.sweep()
        for path in (directory.previous_state, directory.state):
            if path.exists():
                try:
                    state = read_state(path, torch.device("cpu"), mapped=True)
                except DamagedState:  # the other one is taken
                    continue
                if data is not None and isinstance(state.get("data"), dict):
                    require_unchanged(state["data"], data, f"'{directory}' holds a run", "choose another run.name")
                self.kept[int(state["step"])] = path

    @property
    def rounds(self) -> list[int]:
        """The rounds of which there is a state, the latest first."""
        return sorted(self.kept, reverse=True)

    def save(self, number: int, half: dict[str, Any], more: dict[str, Any] | None = None) -> None:
        """Keep a half's state at the beginning of a round; of the same round it is not written again.

        Raises:
            StorageError: It cannot be written; older states are intact.
        """
        if self.directory is None or number in self.kept and number == max(self.kept):
            return
        save_state(self.directory, {"step": number, "half": half, "data": self.data, **(more or {})})
        before = max(self.kept) if self.kept else None
        self.kept = {} if before is None else {before: self.directory.previous_state}
        self.kept[number] = self.directory.state

    def load(self, number: int) -> dict[str, Any]:
        """Return the state of a round; later ones are forgotten, for they are made again.

        Raises:
            UserError: It is damaged.
        """
        state = read_state(self.kept[number], torch.device("cpu"))
        if not isinstance(state.get("half"), dict) or state["step"] != number:
            raise UserError(f"'{self.kept[number]}' is no state of round {number}; take it away and start again")
        return state

    def forget_after(self, number: int) -> None:
        """Take away the states of later rounds."""
        for later in [kept for kept in self.kept if kept > number]:
            self.kept.pop(later).unlink(missing_ok=True)
