"""What a method is said to need: runs are real and tiny, learners are stood in for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import time_to_accuracy
from gendistill.cli import main
from gendistill.commands.side_by_side import Lane
from gendistill.errors import GendistillError, UserError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Runs are made here; learners get better with steps."""
    seen: list[list[str]] = []

    def here(lanes: Sequence[Lane], threads: int) -> None:
        assert threads == 1
        for words in (words for lane in lanes for words in lane.commands):
            seen.append(list(words))
            if words[0] == "train":
                assert main(words) == 0
                continue
            place = Path(words[words.index("--output") + 1])
            accuracy = {"2": 0.91, "4": 0.96}.get(place.stem.rpartition("-")[2], 0.9)
            place.write_text(json.dumps({"learning": {"accuracy": {"runs": [[accuracy, accuracy + 0.01]]}}}))

    monkeypatch.setattr(time_to_accuracy, "run_side_by_side", here)
    return seen


def test_teachers_are_kept_judged_and_drawn(
    given: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(tmp_path), "--dataset", "digits", "--scale", "smoke", "--methods", "DM"]
    assert time_to_accuracy.main(words) == 0
    assert [one[0] for one in given] == ["train", *["evaluate"] * 6]  # the method called so, not all with DM in them
    kept = sorted((tmp_path / "dm" / "kept").iterdir())
    assert [file.stem for file in kept] == ["1", "2", "4"]
    minutes = [time_to_accuracy.spent(file) for file in kept]
    assert 0 < minutes[0] < minutes[1] < minutes[2]
    found = json.loads((tmp_path / "time_to_accuracy.json").read_text())
    assert [point["cpu_minutes"] for point in found["methods"]["DM"]] == minutes
    assert found["free"] == dict.fromkeys(("random", "herding", "k-center"), [90.0, 91.0])
    table = (tmp_path / "time_to_accuracy.md").read_text()
    assert f"| DM | {minutes[0]:.1f} | {minutes[2]:.1f} | 96.5 ± 0.7 | {minutes[2]:.1f} | 96.5 |" in table
    assert "| herding | 0 | – | 90.5 ± 0.7 | 0 | 90.5 |" in table
    assert (tmp_path / "time_to_accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "time_to_accuracy.svg").read_bytes()
    monkeypatch.setattr(time_to_accuracy, "draw", lambda whole, folder: "")
    given.clear()
    assert time_to_accuracy.main(words) == 0
    assert given == []  # everything is there
    (tmp_path / "dm" / "kept" / "4.safetensors").unlink()  # killed after the last save: the run itself has it
    assert time_to_accuracy.main([*words, "--draw"]) == 0 and given == [] and not kept[2].exists()
    assert time_to_accuracy.main(words) == 0
    assert given == [] and time_to_accuracy.spent(kept[2]) == minutes[2]

    def fails(lanes: Sequence[Lane], threads: int) -> None:
        raise GendistillError("no memory is left")

    monkeypatch.setattr(time_to_accuracy, "run_side_by_side", fails)
    capsys.readouterr()
    assert time_to_accuracy.main([*words[:-1], "GTN"]) == 1
    assert "error: GTN: no memory is left" in capsys.readouterr().err


def test_a_making_ends_when_its_time_is_spent(given: list[list[str]], tmp_path: Path) -> None:
    words = [str(tmp_path), "--dataset", "digits", "--scale", "smoke", "--methods", "DM", "--minutes", "0"]
    assert time_to_accuracy.main(words) == 0
    assert not (tmp_path / "dm" / "kept" / "4.safetensors").exists()
    given.clear()
    assert time_to_accuracy.main(words) == 0 and given == []


def test_what_is_reached_stays_reached() -> None:
    points = [
        {"cpu_minutes": minutes, "accuracies": [accuracy, accuracy + 0.5]}
        for minutes, accuracy in ((1.0, 95.0), (2.0, 94.0), (4.0, 95.0), (8.0, 96.0))
    ]
    assert time_to_accuracy.minutes_to(points, 95.0) == 4.0  # the first was luck
    assert time_to_accuracy.minutes_to(points, 94.0) == 1.0
    assert time_to_accuracy.minutes_to(points, 96.25) == 8.0 and time_to_accuracy.minutes_to(points, 97.0) is None


def test_every_method_is_a_config_of_this_project() -> None:
    for method in time_to_accuracy.METHODS.values():
        kept = method.kept()
        assert kept[-1] == method.steps and all(step % kept[0] == 0 for step in kept)
        assert all(two == 2 * one for one, two in zip(kept, kept[1:], strict=False))
        for name in time_to_accuracy.TARGETS:
            assert method.file(name).is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--methods", "xyz"], "no method's name holds 'xyz'"), (["--judges", "0"], "--judges is 0")],
)
def test_a_wrong_word_is_a_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        time_to_accuracy.read([str(tmp_path), *words])
