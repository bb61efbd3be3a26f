"""The ledger: it counts before noise is drawn, refuses before it is overspent, and cannot be talked out of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill import files
from gendistill.errors import StorageError, UserError
from gendistill.privacy.accountant import Call, noise_for
from gendistill.privacy.ledger import Budget, Ledger

BUDGET = Budget(1.0, 1e-5)
NOISE = noise_for(1.0, 1e-5, 3)


def test_it_refuses_the_call_that_would_overspend_and_counts_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "privacy.json", BUDGET)
    for _ in range(3):
        ledger.spend("sum", NOISE)
    assert ledger.spent() == pytest.approx(1.0, abs=1e-4)
    before = (tmp_path / "privacy.json").read_bytes()
    with pytest.raises(UserError, match=r"would bring epsilon to 1\.\d+, and the budget is 1 at delta 1e-05"):
        ledger.spend("sum", NOISE)
    assert (tmp_path / "privacy.json").read_bytes() == before and ledger.entries()[0]["calls"] == 3


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    Ledger(tmp_path / "privacy.json", BUDGET).spend("sum", NOISE)
    again = Ledger(tmp_path / "privacy.json", BUDGET)
    again.spend("sum", NOISE)
    again.spend("other", 40.0)
    assert again.entries() == [
        {"purpose": "sum", "noise": NOISE, "rate": 1.0, "calls": 2},
        {"purpose": "other", "noise": 40.0, "rate": 1.0, "calls": 1},
    ]
    assert again.spent(Call(50.0)) > again.spent()


def test_what_cannot_be_written_is_not_counted_and_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "privacy.json", BUDGET)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError):
        ledger.spend("sum", NOISE)
    assert ledger.entries() == [{"purpose": "sum", "noise": NOISE, "rate": 1.0, "calls": 0}] and ledger.spent() == 0.0


def test_a_ledger_that_was_changed_or_is_of_another_budget_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "privacy.json"
    Ledger(path, BUDGET).spend("sum", NOISE)
    with pytest.raises(UserError, match="another budget"):
        Ledger(path, Budget(10.0, 1e-5))
    content = json.loads(path.read_text())
    content["entries"][0]["calls"] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="damaged"):
        Ledger(path, BUDGET)
    path.write_text("{")
    with pytest.raises(UserError, match="JSON"):
        Ledger(path, BUDGET)


def test_sums_of_samples_are_for_records_that_come_and_go(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "privacy.json", Budget(1.0, 1e-5, "replace-one"))
    with pytest.raises(UserError, match="add-remove alone"):
        ledger.spend("gradient", 5.0, 0.01)
    assert ledger.entries() == [] and ledger.budget.sensitivity == 2.0


@pytest.mark.parametrize(
    "options",
    [
        {"epsilon": 0.0},
        {"epsilon": float("inf")},
        {"epsilon": float("nan")},
        {"delta": 0.0},
        {"delta": 1.0},
        {"adjacency": "swap"},
        {"accountant": "gdp"},
    ],
)
def test_a_budget_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Budget(**({"epsilon": 1.0, "delta": 1e-5} | options))  # type: ignore[arg-type]
