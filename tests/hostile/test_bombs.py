"""Small files that expand to much end in one sentence, within bounds of memory and time."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from gendistill import budget
from gendistill.cli import main
from gendistill.data import load
from gendistill.data.folder import load_folder
from gendistill.errors import UserError

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "bombs.py"
spec = importlib.util.spec_from_file_location("benchmark_bombs", PATH)
assert spec is not None and spec.loader is not None
bombs = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = bombs
spec.loader.exec_module(bombs)

SECONDS = 6
READ = ("text: long sentences among short ones",)
"""What is no bomb any more: it is read."""


@pytest.mark.parametrize("name", bombs.BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(name: str, tmp_path: Path) -> None:
    load("digits")  # so that what it imports is not counted
    found = bombs.measure_one(bombs.BOMBS[name], tmp_path, room=2 * 10**9, seconds=SECONDS)
    assert found.said == "read" if name in READ else found.refused, found.said
    assert found.grown <= budget.allowance(found.size) + 100 * 2**20
    if name not in READ:
        assert "\n" not in found.said
        assert "memory" not in found.said or budget.OPTION in found.said or "are free" in found.said


def test_what_is_refused_is_read_where_the_option_allows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            bombs._picture((16, 16), tmp_path / name / f"{number}.png")
    size = (tmp_path / "a" / "0.png").stat().st_size
    monkeypatch.setattr(budget, "MULTIPLE", 1)
    monkeypatch.setattr(budget, "CONSTANT", 200)
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    with pytest.raises(UserError, match=f"{budget.OPTION} 1 ") as refused:
        load_folder(tmp_path)
    assert budget.words(16 * 16 * 4) in str(refused.value) and budget.words(size) in str(refused.value)
    monkeypatch.setenv(budget.VARIABLE, "1")
    assert load_folder(tmp_path).description.image_shape == (3, 16, 16)


def test_the_option_is_one_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    seen: list[tuple[str | None, list[str]]] = []

    def note_words(words: list[str]) -> int:
        seen.append((os.environ.get(budget.VARIABLE), list(words)))
        return 0

    monkeypatch.setattr("gendistill.cli._dispatch", note_words)
    main(["train", budget.OPTION, "700", "--x", "1"])
    main(["import", "f", f"{budget.OPTION}=800"])
    assert seen == [("700", ["train", "--x", "1"]), ("800", ["import", "f"])]
    assert budget.VARIABLE not in os.environ
    for wrong in (["train", budget.OPTION], ["train", f"{budget.OPTION}=much"], ["train", budget.OPTION, "-5"]):
        assert main(wrong) == 2
        assert f"{budget.OPTION} is '" in capsys.readouterr().err
    monkeypatch.setenv(budget.VARIABLE, "a lot")
    with pytest.raises(UserError, match=f"{budget.VARIABLE} is 'a lot'"):
        budget.allowance(1)
