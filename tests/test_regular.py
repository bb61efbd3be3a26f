"""Paths at which Python's own ways fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.regular import expanded, real_path

UNKNOWN = "~nobody_of_this_name/t"


def test_links_in_a_circle_and_unknown_users_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert real_path(tmp_path / "loop") == tmp_path / "loop"
    assert real_path("a\0b") == Path("a\0b")
    assert expanded(UNKNOWN) == Path(UNKNOWN) and expanded("~") == Path.home()


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", UNKNOWN],
        ["diagnose", UNKNOWN],
        ["import", UNKNOWN, "--output", "t.safetensors"],
        ["verify", UNKNOWN],
        ["nas", "real", "--truth", UNKNOWN],
        ["evaluate", "real", "--dataset", "folder:~nobody_of_this_name/t"],
        ["evaluate", "real", "--dataset", "cifar10", "--data-root", UNKNOWN],
        ["evaluate", "real:subset=20", "--extractor", "inception", "--weights", UNKNOWN, "--updates", "1", "--lr", "1"],
        ["train", "--config", "loop"],
        ["evaluate", "loop"],
        ["evaluate", "real", "--dataset", "loop"],
    ],
)
def test_commands_say_what_is_missing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("error: ") and "Traceback" not in said
