"""The ledger of a run's private sums: it counts calls, not plans, and refuses to overspend before a call is made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.json_file import SEAL, Each, Is, Keys, fraction, is_whole, mapping, read_json, sealed, size, text, whole
from gendistill.privacy.accountant import ACCOUNTANTS, Call, epsilon_of, name_of, noise_for

ADJACENCIES = {
    "add-remove": "one record added or removed",
    "replace-one": "one record replaced by another",
}
SLACK = 1e-6
"""Share of a budget by which rounding may exceed it."""
FILE_NAME = "privacy.json"
INCLUDED = "what it starts from: "
"""Begins the purpose of a call that another run made, whose teacher this one starts from."""


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Attributes:
        epsilon: More than 0.
        delta: In (0, 1); for a promise of any worth less than one over the number of records.
        adjacency: How neighbouring data sets differ: ``add-remove`` or ``replace-one`` record.
        accountant: Who counts sums of samples: ``rdp`` or ``prv``.
        unit: What one record is.

    Raises:
        UserError: A number out of range or an unknown word.
    """

    epsilon: float
    delta: float
    adjacency: str = "add-remove"
    accountant: str = "rdp"
    unit: str = "one image"

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < float("inf"):
            raise UserError(f"epsilon is {self.epsilon}; give a positive number such as 1")
        if not 0 < self.delta < 1:
            raise UserError(f"delta is {self.delta}; give a number between 0 and 1, less than one over the records")
        if self.adjacency not in ADJACENCIES:
            raise UserError(f"adjacency is '{self.adjacency}'; choose one of: {', '.join(ADJACENCIES)}")
        if self.accountant not in ACCOUNTANTS:
            raise UserError(f"accountant is '{self.accountant}'; choose one of: {', '.join(ACCOUNTANTS)}")

    @property
    def sensitivity(self) -> float:
        """The sensitivity of a sum of records that are clipped to norm 1.

        A record that is replaced takes one vector of norm 1 away and brings another, wherever its class puts it.
        """
        return 1.0 if self.adjacency == "add-remove" else 2.0


class Ledger:
    """Counts the private sums of one run, in a file that is written before each.

    Args:
        path: The file; what an earlier part of the run wrote is gone on with.
        budget: What may be spent; a file of another budget is refused.
        begun: Whether something is there that private sums were made for, so that there must be a file.

    Raises:
        UserError: The file is damaged, of another budget, or lost.
    """

    def __init__(self, path: str | Path, budget: Budget, *, begun: bool = False) -> None:
        self.path, self.budget = Path(path), budget
        self.calls: dict[tuple[str, float, float], int] = {}
        if self.path.exists():
            self._read()
        else:
            require_ledger(self.path, begun)

    def entries(self) -> list[dict[str, Any]]:
        """Return what was called, in plain values: ``purpose``, ``noise``, ``rate``, ``calls``."""
        return [
            {"purpose": purpose, "noise": noise, "rate": rate, "calls": calls}
            for (purpose, noise, rate), calls in self.calls.items()
        ]

    def made(self, prefix: str = "") -> list[Call]:
        """Return the calls so far whose purpose begins so."""
        found = self.calls.items()
        return [Call(noise, rate, count) for (purpose, noise, rate), count in found if purpose.startswith(prefix)]

    def spent(self, *more: Call) -> float:
        """Return epsilon of all calls so far, and of ``more``."""
        return epsilon_of([*self.made(), *more], self.budget.delta, self.budget.accountant)

    @property
    def accountant(self) -> str:
        """Who accounts for the calls so far, by name."""
        return name_of(self.made(), self.budget.accountant)

    def noise_for(self, count: int, rate: float = 1.0) -> float:
        """Return the noise with which ``count`` calls of this run cost what the budget leaves.

        Args:
            count: Calls, those that were made already among them.
            rate: See :class:`~gendistill.privacy.accountant.Call`.

        Raises:
            UserError: What the run starts from has spent the budget.
        """
        budget = self.budget
        return noise_for(budget.epsilon, budget.delta, count, rate, budget.accountant, beside=self.made(INCLUDED))

    def include(self, entries: Sequence[Mapping[str, Any]], whose: str) -> None:
        """Count the calls of another run, whose teacher this one starts from; counted once, however often it is said.

        Args:
            entries: As :meth:`entries` returns them.
            whose: The teacher, for sentences.

        Raises:
            UserError: They have spent the budget.
            StorageError: They cannot be written.
        """
        before = dict(self.calls)
        for entry in entries:
            key = (INCLUDED + str(entry["purpose"]).removeprefix(INCLUDED), float(entry["noise"]), float(entry["rate"]))
            self.calls[key] = max(self.calls.get(key, 0), int(entry["calls"]))
        if self.calls == before:
            return
        try:
            cost = epsilon_of(self.made(INCLUDED), self.budget.delta, self.budget.accountant)
            if not cost < self.budget.epsilon:
                raise UserError(
                    f"'{whose}' has cost epsilon {cost:.4g} at delta {self.budget.delta:g} already, which counts here, "
                    f"too, and the budget is {self.budget.epsilon:g}; give a larger trainer.epsilon, or start from "
                    "noise"
                )
            self._write()
        except BaseException:
            self.calls = before
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return what a saved state was made with."""
        return {"entries": self.entries()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See that the file counts all that a saved state was made with.

        Raises:
            UserError: It counts less: it is an older one, or that of another run.
        """
        for entry in state["entries"]:
            key = (str(entry["purpose"]), float(entry["noise"]), float(entry["rate"]))
            if self.calls.get(key, 0) < int(entry["calls"]):
                raise UserError(
                    f"'{self.path}' counts {self.calls.get(key, 0)} sums ({key[0]}), and the saved state was made with "
                    f"{entry['calls']}; put back the file that belongs to this run, or choose another run.name and "
                    "count this run's whole budget as spent"
                )

    def spend(self, purpose: str, noise: float, rate: float = 1.0) -> None:
        """Count one call, on the disk, before its noise is drawn.

        Args:
            purpose: What the sum is for.
            noise: See :class:`~gendistill.privacy.accountant.Call`.
            rate: See there.

        Raises:
            UserError: The budget does not allow it; nothing is counted.
            StorageError: It cannot be written; nothing is counted.
        """
        if rate < 1 and self.budget.adjacency != "add-remove":
            raise UserError(
                f"sums of samples are accounted for under add-remove alone, adjacency is '{self.budget.adjacency}'; "
                "take all records (rate 1), or adjacency add-remove"
            )
        cost = self.spent(Call(noise, rate))
        if not cost <= self.budget.epsilon * (1 + SLACK):
            raise UserError(
                f"a further private sum ({purpose}) would bring epsilon to {cost:.4g}, and the budget is "
                f"{self.budget.epsilon:g} at delta {self.budget.delta:g} ({self.spent():.4g} is spent, as "
                f"'{self.path}' says); nothing was drawn. What is spent stays spent, with run.fresh, too: end the run "
                "here, or give a larger trainer.epsilon under another run.name"
            )
        key = (purpose, float(noise), float(rate))
        before = self.calls.get(key, 0)
        self.calls[key] = before + 1
        try:
            self._write()
        except BaseException:
            self.calls[key] = before
            raise

    def _write(self) -> None:
        content = sealed({"version": 1, "budget": asdict(self.budget), "entries": self.entries()})
        atomic_write(self.path, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))

    def _read(self) -> None:
        content = read_json(self.path, SHAPE)
        if not is_whole(content):
            raise UserError(
                f"'{self.path}' is damaged: it does not match its checksum; what was spent is not known, so nothing "
                "more may be spent here: choose another run.name and count this run's whole budget as spent"
            )
        if content["budget"] != asdict(self.budget):
            then = ", ".join(f"{name} {value}" for name, value in content["budget"].items())
            raise UserError(
                f"'{self.path}' counts what was spent of another budget ({then}); choose another run.name: the two "
                "budgets add up where both teachers are given away"
            )
        for entry in content["entries"]:
            self.calls[(entry["purpose"], float(entry["noise"]), float(entry["rate"]))] = entry["calls"]


def require_ledger(path: Path, begun: bool) -> None:
    """Refuse to begin to count where a part is done already.

    Args:
        path: A ledger's file that is not there.
        begun: Whether what was counted in it is there.

    Raises:
        UserError: It is.
    """
    if begun:
        raise UserError(
            f"'{path}' is gone, and '{path.parent}' has what private images were asked for; what was spent is not "
            "known: put the file back, or choose another run.name and count this run's whole budget as spent"
        )


ENTRY = Keys(
    required={
        "purpose": Is(text, "a text"),
        "noise": Is(size, "a number from 0"),
        "rate": Is(fraction, "a number from 0 to 1"),
        "calls": Is(whole, "a number of calls"),
    }
)
SHAPE = Keys(
    required={
        "version": Is(lambda value: value == 1, "1"),
        "budget": Is(mapping, "an object"),
        "entries": Each(ENTRY),
        SEAL: Is(text, "a checksum"),
    }
)
