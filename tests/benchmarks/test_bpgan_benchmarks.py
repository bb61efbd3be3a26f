from __future__ import annotations

import os
import signal

import pytest

from benchmarks import bpgan_kills, bpgan_links
from benchmarks.bpgan_kills import NAMES, Ended, faults


def test_where_links_cannot_be_shaped_one_sentence_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpgan_links.shutil, "which", lambda tool, path: None)
    assert bpgan_links.measure() == {"skipped": "there is no ip and no tc here, which shape the links"}
    monkeypatch.setattr(bpgan_links.shutil, "which", lambda tool, path: f"/usr/sbin/{tool}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root" in bpgan_links.measure()["skipped"]


def test_what_is_wrong_with_an_end_is_found() -> None:
    killed = -signal.SIGKILL
    said = f"error: {NAMES[3]} has ended without a word in step 5 of 40, killed\nerror: process 0 stops for the same\n"
    assert faults(Ended([1, 1, 1, killed], said, 9.0, 2.0), 3) == []
    assert faults(Ended([1, 0, 1, killed], said, 9.0, 2.0), 3) == [f"exit codes [1, 0, 1, {killed}]"]
    assert len(faults(Ended([1, 1, 1, killed], said, 9.0, bpgan_kills.LIMIT + 1.0), 3)) == 1
    assert len(faults(Ended([1, 1, killed, 1], said, 9.0, 2.0), 2)) == 1  # another one is named
    assert len(faults(Ended([1, 1, 1, killed], said + said, 9.0, 2.0), 3)) == 1  # it is said twice
