"""What is there: configs, trainers, completion."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gendistill.cli import COMMANDS, main
from gendistill.config.base import read_config

ROOT = Path(__file__).resolve().parents[2]


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_configs_are_listed_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "configs").splitlines()
    folder = ROOT / "configs"
    every = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.rglob("*.yaml"))]
    others = [name for name in every if not name.startswith("replication/")]
    assert [line.split()[0] for line in lines[: len(others)]] == sorted(others)
    assert f"{len(every) - len(others)} more" in lines[len(others)]
    assert "digits-gan, mnist-gan" in lines[-2] and "sets to judge" in lines[-1] and "mnist-10" in lines[-1]
    few = said(capsys, "configs", "PacGAN", "embedded").splitlines()
    assert [line.split()[0] for line in few] == ["gan/digits-pacgan"]
    assert len(said(capsys, "configs", "replication/").splitlines()) == len(every) - len(others)
    assert "no config has 'xyzzy'" in said(capsys, "configs", "xyzzy", code=2)


def test_a_copy_is_the_same_experiment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        said(capsys, "configs", "--copy", "gan/mnist-cgan-pd").strip() == "gendistill train --config mnist-cgan-pd.yaml"
    )
    source = ROOT / "configs" / "gan" / "mnist-cgan-pd.yaml"
    assert Path("mnist-cgan-pd.yaml").read_bytes() == source.read_bytes()
    assert "is there already" in said(capsys, "configs", "--copy", "gan/mnist-cgan-pd", code=2)
    blanks = said(capsys, "configs", "--copy", "gan/mnist-cgan-pd", "--output", "my own.yaml")
    assert blanks == "gendistill train --config 'my own.yaml'\n"
    # One that stands on another is whole by itself.
    based = "replication/bradley-4.1-diff-1.0"
    done = json.loads(said(capsys, "configs", "--copy", based, "--output", "own.yaml", "--json"))
    assert done == {"copied": "own.yaml"} and "base" not in read_config("own.yaml")
    assert read_config("own.yaml") == read_config(ROOT / "configs" / f"{based}.yaml")
    assert "did you mean 'gan/mnist-wgan'" in said(capsys, "configs", "--copy", "gan/mnist-wgam", code=2)
    assert "give --copy" in said(capsys, "configs", "--output", "x.yaml", code=2)


def test_trainers_are_listed_with_their_pages(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "trainers").splitlines()
    assert any(line.startswith("trainers.gtn.GTNTrainer ") and " docs/methods/gtn.md " in line for line in lines)
    listed = json.loads(said(capsys, "trainers", "--json"))["trainers"]
    assert list(listed) == [line.split()[0] for line in lines]


def test_completion_knows_every_command_and_option(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    script = said(capsys, "completion", "bash")
    assert [name for name in COMMANDS if not re.search(rf"[(' ]{name}[)' ]", script)] == []
    for option in ("--updates", "--run.steps", "--copy", "--over"):
        assert option in script
    assert "gan/mnist-cgan-pd" in script
    if (bash := shutil.which("bash")) is not None:
        (tmp_path / "completion").write_text(script)
        asked = (
            f"source {tmp_path}/completion; COMP_WORDS=(gendistill diag); COMP_CWORD=1; "
            "$(complete -p gendistill | sed 's/.*-F \\([^ ]*\\).*/\\1/') gendistill diag; echo ${COMPREPLY[@]}"
        )
        done = subprocess.run([bash, "-c", asked], capture_output=True, text=True)
        assert done.stdout.split() == ["diagnose"], done.stderr
    assert "_gendistill" in said(capsys, "completion", "zsh")


def test_without_shtab_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install 'gendistill[completion]'" in said(capsys, "completion", "bash", code=2)
