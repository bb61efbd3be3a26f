"""The counter on a terminal and elsewhere."""

from __future__ import annotations

import io
import sys

import pytest

from gendistill import counter
from gendistill.counter import Counter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(counter.time, "monotonic", lambda: now[0])
    return now


def test_elsewhere_than_on_a_terminal_there_is_a_line_now_and_then(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    count = Counter("learners", "updates")
    for seconds, done in ((1, 100), (11, 1000), (12, 1100), (40, 4000)):
        clock[0] = seconds
        count(done, 4000)
    assert capsys.readouterr().err == (
        "learners: 1,000 of 4,000 updates, 0:00:33 left\nlearners: 4,000 of 4,000 updates\n"
    )


def test_short_work_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    count = Counter("learners", "updates")
    clock[0] = 2.0
    count(4, 4)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_one_line_that_changes(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    count = Counter("experts", "steps")
    clock[0] = 1.0
    count(1, 3)
    count(3, 3)
    first = "experts: 1 of 3 steps, 0:00:02 left"
    assert terminal.getvalue() == f"\r{first}\r{'experts: 3 of 3 steps'.ljust(len(first))}\n"


def test_the_next_piece_of_work_has_its_own_time(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    count = Counter("learners", "updates")
    clock[0] = 100.0
    count(10, 10)
    count(0, 10)
    clock[0] = 120.0
    count(5, 10)
    assert capsys.readouterr().err.splitlines()[-1] == "learners: 5 of 10 updates, 0:00:20 left"


def test_what_comes_before_the_first_update_is_not_counted(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    count = Counter("learners", "updates")
    clock[0] = 100.0
    count(0, 10)
    clock[0] = 120.0
    count(5, 10)
    assert capsys.readouterr().err == "learners: 5 of 10 updates, 0:00:20 left\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_work_that_seldom_takes_long_is_silent_where_it_does_not(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    for end, said in ((9.0, False), (30.0, True)):
        count = Counter("features", "images", after=10.0)
        started = clock[0]
        for done in (1, 2, 3):
            clock[0] = started + end * done / 3
            count(done, 3)
        assert bool(screen.getvalue()) is said
    assert "features: 3 of 3 images" in screen.getvalue() and "1 of 3" in screen.getvalue()
