from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gendistill.counter import duration
from gendistill.errors import StorageError
from gendistill.runs.progress import Progress


def test_lines_go_to_the_log_and_few_to_the_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(100, 0, tmp_path / "log.txt", shown=True, name="run")
    for step in (10, 20, 30, 100):
        progress.report(step, {"loss": 0.123456}, rate=2.0)
    progress.close()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0] == "step 10/100  loss 0.1235  2.0 steps/s  0:00:45 left" and len(lines) == 4
    shown = capsys.readouterr()
    assert [line.split()[1] for line in shown.err.splitlines()] == ["10/100", "100/100"] and shown.out == ""


def test_a_continued_log_is_appended_to(tmp_path: Path) -> None:
    for line in ("one", "two"):
        progress = Progress(1, 0, tmp_path / "log.txt", shown=False, name="run")
        progress.say(line)
        progress.close()
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"


def test_a_terminal_gets_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(10, 4, tmp_path / "log.txt", shown=True, name="digits-gan")
    progress.say("continued", above_bar=True)
    progress.say("only in the log")
    for _ in range(6):
        progress.advance()
    progress.report(10, {"loss": 1.0}, rate=3.0)
    progress.close()
    shown = capsys.readouterr()
    assert "digits-gan" in shown.err and "10/10" in shown.err and "continued" in shown.err
    assert "only in the log" not in shown.err and shown.out == ""


def test_nothing_is_shown_when_nothing_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(10, 0, None, shown=False, name="run")
    progress.advance()
    progress.report(10, {"loss": 1.0}, rate=1.0)
    progress.close()
    assert capsys.readouterr() == ("", "")


def test_a_log_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be written"):
        Progress(1, 0, tmp_path / "missing" / "log.txt", shown=False, name="run")


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00:00"), (61, "0:01:01"), (36_000, "10:00:00")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
