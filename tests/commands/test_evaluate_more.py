"""``--continual`` and ``--robust``."""

from __future__ import annotations

from pathlib import Path

import pytest

from gendistill.cli import main

QUICK = ["--updates", "2", "--seeds", "1", "--lr", "0.05", "--device", "cpu", "--no-fidelity"]


def test_more_measures_are_part_of_the_result(place: Path, run_json, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "real:ipc=2", "--dataset", "digits", "--continual", "2", "--robust", *QUICK]
    found = run_json(*words, "--json")
    assert found["continual"]["classes_seen"] == [5, 10] and found["continual"]["images_kept"] == [10, 20]
    assert found["robust"]["images"] == 20 and found["robust"]["ars"] is None
    assert found["robust"]["accuracy"]["teacher_any"] == found["learning"]["accuracy"]["mean"][-1]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "continual  5 classes" in said and f"label-robust score {found['robust']['lrs']:.3f}" in said
    assert main(["evaluate", "real:ipc=2", "--dataset", "digits", "--continual", "9", *QUICK]) == 2


def test_without_them_there_is_none(place: Path, run_json) -> None:
    found = run_json("evaluate", "real:ipc=1", "--dataset", "digits", *QUICK, "--json")
    assert "continual" not in found and "robust" not in found
