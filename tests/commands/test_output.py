"""What every command does with its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gendistill.commands.output import hand_over
from gendistill.errors import StorageError

RESULT = {"accuracy": 0.5, "name": "é"}


def words(result: Mapping[str, Any]) -> str:
    return f"half right: {result['accuracy']}"


def test_a_person_reads_words_and_where_files_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hand_over(RESULT, words, as_json=False) == 0
    assert capsys.readouterr().out == "half right: 0.5\n"
    file = tmp_path / "a.json"
    assert hand_over(RESULT, words, as_json=False, output=file) == 0
    assert capsys.readouterr().out == f"half right: 0.5\nresults  {file}\n"
    assert json.loads(file.read_text()) == RESULT


def test_a_program_reads_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    assert hand_over(RESULT, words, as_json=True, output=file) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == RESULT == json.loads(file.read_text())


def test_a_report_is_written_with_pictures_that_may_speak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("gendistill.report.page.write_report", lambda *given: seen.append(given))

    def pictures() -> dict[str, Any]:
        print("drawing")
        return {"a": 1}

    assert hand_over(RESULT, words, as_json=True, report="r.html", pictures=pictures) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == RESULT and said.err == "drawing\n"
    assert hand_over(RESULT, words, as_json=False, report="r.html") == 0
    assert capsys.readouterr().out == "half right: 0.5\nreport   r.html\n"
    assert seen == [(RESULT, "r.html", {"a": 1}), (RESULT, "r.html", {})]


def test_a_file_that_cannot_be_written_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        hand_over(RESULT, words, as_json=True, output=tmp_path / "file" / "a.json")
    assert capsys.readouterr().out == ""
