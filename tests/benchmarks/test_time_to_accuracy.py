"""What a method is said to need, without making anything: commands are stood in for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import time_to_accuracy


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands take half a minute each; learners get better with steps."""
    seen: list[list[str]] = []

    def command(words: Sequence[str]) -> float:
        seen.append(list(words))
        if words[0] == "evaluate":
            place = Path(words[words.index("--output") + 1])
            steps = place.stem.rpartition("-")[2]
            accuracy = {"2": 0.91, "4": 0.96}.get(steps, 0.9)
            place.write_text(json.dumps({"learning": {"accuracy": {"runs": [[accuracy, accuracy + 0.01]]}}}))
        return 30.0

    monkeypatch.setattr(time_to_accuracy, "command", command)
    return seen


def test_points_are_summed_kept_and_drawn(
    given: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path), "--dataset", "digits", "--scale", "smoke", "--only", "formation"]
    assert time_to_accuracy.main(words) == 0
    trained = [one for one in given if one[0] == "train"]
    assert [one[one.index("--run.steps") + 1] for one in trained] == ["2", "4"]
    found = json.loads((tmp_path / "time_to_accuracy.json").read_text())
    assert [point["cpu_minutes"] for point in found["methods"]["DM, formation, pool"]] == [0.5, 1.0]
    assert found["free"] == dict.fromkeys(("random", "herding", "k-center"), pytest.approx(90.5))
    assert "| DM, formation, pool | 0.5 | 1.0 | 96.5 | 1.0 |" in (tmp_path / "time_to_accuracy.md").read_text()
    assert "| herding | 0 | – | 90.5 | 0 |" in (tmp_path / "time_to_accuracy.md").read_text()
    assert (tmp_path / "time_to_accuracy.png").read_bytes().startswith(b"\x89PNG")
    given.clear()
    assert time_to_accuracy.main(words) == 0
    assert given == []  # everything is there


def test_every_method_is_a_config_of_this_project() -> None:
    for config, _, steps in time_to_accuracy.METHODS.values():
        assert list(steps) == sorted(steps)
        for name in time_to_accuracy.TARGETS:
            assert (time_to_accuracy.CONFIGS / config.format(data=name)).is_file()
