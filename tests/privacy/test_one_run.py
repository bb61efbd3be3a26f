"""The bound of epsilon from one run, and the mechanism audited with it: right as it is, refuted without its noise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gendistill.data.description import symmetric
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.privacy import mechanism
from gendistill.privacy.accountant import noise_for
from gendistill.privacy.ledger import Budget, Ledger
from gendistill.privacy.mechanism import PrivateSums
from gendistill.privacy.one_run import epsilon_bound, guess, p_value
from gendistill.privacy.releases import Releases

CANARIES = 1000


def test_values_of_the_paper() -> None:
    assert epsilon_bound(1000, 100, 75, 1e-4) == pytest.approx(0.673, abs=5e-4)
    assert p_value(100, 100, 75, math.log(3), 0.0) == pytest.approx(0.553, abs=5e-4)
    for guesses in (20, 100, 1000):  # all right: (e / (1 + e))^r = 0.05
        chance = 0.05 ** (1 / guesses)
        assert epsilon_bound(guesses, guesses, guesses, 0.0) == pytest.approx(math.log(chance / (1 - chance)))


def test_half_right_refutes_nothing_and_counts_must_fit() -> None:
    assert epsilon_bound(100, 100, 50, 1e-5) == 0.0 and epsilon_bound(100, 0, 0, 1e-5) == 0.0
    with pytest.raises(UserError, match="cannot be"):
        epsilon_bound(10, 20, 5, 1e-5)


def test_guesses_are_of_the_extreme_scores() -> None:
    made = guess(np.array([0.3, 9.0, -5.0, 0.1, 4.0, -1.0]), 4)
    assert made.tolist() == [0, 1, -1, 0, 1, -1]


def audited(folder: Path, noise: float) -> float:
    """Canaries that are orthogonal at the clip norm, each in the records by the toss of a coin; 500 guesses."""
    included = torch.rand(CANARIES) < 0.5
    places = included.nonzero().flatten()
    images = torch.stack([places // 256, places % 256], 1).to(torch.uint8).view(-1, 1, 1, 2)
    budget = Budget(1e6, 1e-5)
    held = PrivateSums(
        Split(images, torch.zeros(len(places), dtype=torch.int64)), 1, symmetric(1), Ledger(folder / "l", budget),
        Releases(folder / "r"),
    )  # fmt: skip

    def contribution(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        pair = ((images.flatten(1) + 1) * 127.5).round().long()
        return torch.nn.functional.one_hot(pair[:, 0] * 256 + pair[:, 1], CANARIES).float()

    scores = held.release("audit", contribution, purpose="audit", bound=1.0, noise=noise).numpy()
    made, truth = guess(scores, CANARIES // 2), np.where(included.numpy(), 1, -1)
    return epsilon_bound(CANARIES, CANARIES // 2, int((made * truth == 1).sum()), 1e-5)


def test_the_mechanism_keeps_its_promise_and_is_caught_without_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audited(tmp_path / "one", noise_for(1.0, 1e-5, 1)) <= 1.0
    assert audited(tmp_path / "ten", noise_for(10.0, 1e-5, 1)) <= 10.0
    monkeypatch.setattr(mechanism, "system_normal", lambda count: torch.zeros(count, dtype=torch.float64))
    assert audited(tmp_path / "none", noise_for(1.0, 1e-5, 1)) >= 3.0
