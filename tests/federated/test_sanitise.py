"""Feedback that leaves a site clipped and noised: how far it can move, how much noise there is, and what is counted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.federated.sanitise import Sanitiser, Spent, epsilon_of
from gendistill.privacy.noise import system_noise


def none(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def test_no_row_is_longer_than_the_clip_and_short_ones_stay() -> None:
    rows = (
        torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-3, 3, 20)[:, None, None, None]
    )
    left = Sanitiser(2.0, 1.0, noise=none).release(rows)
    norms = left.flatten(1).norm(dim=1)
    assert float(norms.max()) <= 2.0 * (1 + 1e-6) and left.dtype == rows.dtype
    short = rows.flatten(1).norm(dim=1) < 2.0
    assert torch.equal(left[short], rows[short])
    other = Sanitiser(2.0, 1.0, noise=none).release(-1e6 * rows)  # all that another record could do
    assert float((left - other).flatten(1).norm()) <= 2 * 2.0 * math.sqrt(20) * (1 + 1e-6)
    assert Sanitiser(0.5).release(torch.tensor([3.0, -3.0, 0.1])).tolist() == pytest.approx([0.5, -0.5, 0.1])


def test_noise_has_the_size_that_is_promised_and_never_comes_twice() -> None:
    made = [Sanitiser(0.5, 3.0).release(torch.zeros(100, 100)).double() for _ in range(2)]
    for noise in made:
        assert float(noise.std()) == pytest.approx(1.5, rel=0.03) and abs(float(noise.mean())) < 0.06
    assert abs(float((made[0] * made[1]).mean())) < 0.1
    torch.manual_seed(0)
    first = system_noise((4,))
    torch.manual_seed(0)
    assert not torch.equal(first, system_noise((4,)))
    assert torch.quantile(system_noise((40_000,)), 0.975).item() == pytest.approx(1.96, abs=0.06)


def test_epsilon_is_that_of_composed_gaussian_mechanisms() -> None:
    spent = Sanitiser(1.0, 40.0, delta=1e-5)
    for _ in range(10):
        spent.release(torch.zeros(8, 5))
    rho = 10 * (2 * math.sqrt(8)) ** 2 / (2 * 40.0**2)  # sensitivity^2 / (2 sigma^2), ten times
    assert spent.rho == pytest.approx(rho) and spent.epsilon == pytest.approx(rho + 2 * math.sqrt(rho * math.log(1e5)))
    assert Sanitiser(1.0, 0.0).epsilon == 0.0
    clipped = Sanitiser(1.0, 0.0)
    clipped.release(torch.zeros(2, 2))
    assert clipped.epsilon == math.inf


def test_a_release_that_costs_too_much_is_not_made(tmp_path: Path) -> None:
    cost = 2 * 4 / 10.0**2
    limit = epsilon_of(3 * cost, 1e-5)
    spent = Sanitiser(1.0, 10.0, epsilon=limit * (1 + 1e-9), ledger=tmp_path / "ledger.json")
    for _ in range(3):
        spent.release(torch.zeros(4, 5))
    with pytest.raises(Spent, match="3 releases"):
        spent.release(torch.zeros(4, 5))
    assert spent.releases == 3 and json.loads((tmp_path / "ledger.json").read_text())["releases"] == 3


def test_the_ledger_survives_a_crash_in_the_middle_of_a_release(tmp_path: Path) -> None:
    def dies(shape: tuple[int, ...]) -> Tensor:
        raise KeyboardInterrupt

    file = tmp_path / "ledger.json"
    Sanitiser(1.0, 10.0, ledger=file).release(torch.zeros(4, 5))
    with pytest.raises(KeyboardInterrupt):
        Sanitiser(1.0, 10.0, ledger=file, noise=dies).release(torch.zeros(4, 5))
    again = Sanitiser(1.0, 10.0, ledger=file)
    assert again.releases == 2 and again.rho == pytest.approx(2 * 2 * 4 / 100)


@pytest.mark.parametrize(
    "options",
    [{"clip": 0.0}, {"clip": math.nan}, {"noise_multiplier": -1.0}, {"delta": 0.0}, {"epsilon": 1.0}, {"delta": 1.0}],
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Sanitiser(**{"clip": 1.0} | options)  # type: ignore[arg-type]


def test_a_ledger_that_is_gone_or_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "privacy.json"
    Sanitiser(1.0, 10.0, ledger=file, begun=False).release(torch.zeros(4, 5))
    file.write_text(file.read_text().replace('"releases": 1', '"releases": 0'))
    with pytest.raises(UserError, match="does not match its checksum"):
        Sanitiser(1.0, 10.0, ledger=file)
    file.unlink()
    with pytest.raises(UserError, match="is gone"):
        Sanitiser(1.0, 10.0, ledger=file, begun=True)
