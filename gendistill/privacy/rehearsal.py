"""The mechanism of a private teacher run once more on canaries: does it keep what its ledger promises?

Canaries are records of our own, in the mechanism's own space: orthogonal vectors, longer than the bound, so that
clipping is under test, too. Each is in by the toss of a coin; then every call of the ledger is made, with its noise and
its rate, and the attacker sees all sums. What the attacker cannot see better is the same mechanism; what the audit
cannot see is a path round it, which the taint test looks for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendistill.data.description import symmetric
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.privacy.ledger import Budget, Ledger
from gendistill.privacy.mechanism import PrivateSums
from gendistill.privacy.noise import system_choice
from gendistill.privacy.one_run import epsilon_bound, guess
from gendistill.privacy.promise import read_promise
from gendistill.privacy.releases import Releases

CANARIES = 1000
LONGER = 3.0
"""Length of a canary's vector over the bound."""
MOST_CALLS = 20_000
"""Of a ledger; more are refused, as a file may name any number."""
NO_LIMIT = 1e300


class Unkept(Releases):
    """Sums that are only looked at."""

    def __init__(self) -> None:
        super().__init__(Path("."))

    def get(self, name: str) -> Tensor | None:
        """Return none."""
        return None

    def keep(self, name: str, noisy: Tensor) -> None:
        """Keep nothing."""


class Uncounted(Ledger):
    """Counts nothing: canaries are nobody's records."""

    def spend(self, purpose: str, noise: float, rate: float = 1.0) -> None:
        """Count nothing."""


class WithoutNoise(PrivateSums):
    """The same mechanism with its noise off: what the audit must catch."""

    def _noise(self, count: int, scale: float) -> Tensor:
        return torch.zeros(count, dtype=torch.float64)


def rehearse(
    noted: Mapping[str, Any], *, canaries: int = CANARIES, noise: bool = True, guesses: int | None = None
) -> dict[str, Any]:
    """Run a ledger's calls on canaries, guess which were in, and bound epsilon from below.

    Args:
        noted: What a teacher's file promises (:func:`gendistill.privacy.promise.promise`); nobody vouches for it.
        canaries: m.
        noise: Whether noise is added.
        guesses: r, fixed before a score is seen; None: half of the canaries where epsilon is 4 or more, a tenth of
            them where it is less and only the surest guesses tell.

    Returns:
        ``canaries``, ``guesses``, ``right``, ``bound`` (95 % confidence), ``promised`` epsilon, ``noise``.

    Raises:
        UserError: The entry is damaged.
    """
    epsilon, delta, adjacency, entries = read_promise(noted)
    if sum(entry["calls"] for entry in entries) > MOST_CALLS:
        raise UserError(f"the teacher's promise of privacy names more than {MOST_CALLS:,} private sums")
    if guesses is None:
        guesses = canaries // 2 if epsilon >= 4 else canaries // 10
    included = system_choice(canaries, 0.5)
    places = included.nonzero().flatten()
    # A record is its number, in two bytes.
    images = torch.stack([places // 256, places % 256], 1).to(torch.uint8).view(-1, 1, 1, 2)
    records = Split(images, torch.zeros(len(places), dtype=torch.int64))
    kind = PrivateSums if noise else WithoutNoise
    with tempfile.TemporaryDirectory() as folder:
        ledger = Uncounted(Path(folder) / "ledger.json", Budget(NO_LIMIT, delta, adjacency))
        sums = kind(records, 1, symmetric(1), ledger, Unkept(), at_once=canaries)

        def contribution(images: Tensor, labels: Tensor) -> Tensor:
            pair = ((images.flatten(1) + 1) * 127.5).round().long()
            vectors = torch.zeros(len(images), canaries)
            vectors[torch.arange(len(images)), pair[:, 0] * 256 + pair[:, 1]] = LONGER
            return vectors

        scores = np.zeros(canaries)
        for entry in entries:
            # Sums of all records repeat each other; what the attacker learns of T of them is their mean.
            weight = entry["rate"] / max(entry["noise"], 1e-9) ** 2
            for number in range(entry["calls"]):
                found = sums.release(
                    str(number), contribution, purpose="canaries", bound=1.0, noise=entry["noise"], rate=entry["rate"]
                )
                scores += weight * found.numpy()
    made = guess(scores, guesses)
    truth = np.where(included.numpy(), 1, -1)
    right = int((made * truth == 1).sum())
    return {
        "canaries": canaries,
        "guesses": guesses,
        "right": right,
        "bound": epsilon_bound(canaries, guesses, right, delta),
        "promised": epsilon,
        "noise": noise,
    }
