"""``gendistill privacy``: what does not fit is one sentence, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grpc")
pytest.importorskip("cryptography")

from gendistill.cli import main

CONFIG = ["--config", "configs/privacy-gan/digits.yaml", "--scale", "smoke"]


def test_the_help_says_first_what_is_protected_and_what_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["privacy", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "no formal guarantee" in shown and "Private images stay at their site" in shown
    assert main(["privacy"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["servee"], "did you mean 'serve'"),
        (["certificates", "DIR"], "--sites"),
        (["certificates", "DIR", "--sites", "a,a"], "a name of its own"),
        (["serve", *CONFIG], "give --certificates"),
        (["join", *CONFIG, "--certificates", "DIR"], "cannot be read"),
        (["join", *CONFIG, "--certificates", "MADE/a"], "give --server"),
        (["join", *CONFIG, "--certificates", "MADE/a", "--server", "here"], "HOST:PORT"),
        (["join", *CONFIG, "--certificates", "MADE/a", "--server", "a:1", "--share", "7"], "0 to 2"),
        (["join", *CONFIG, "--certificates", "MADE/a", "--server", "a:1", "--patience", "soon"], "--patience"),
        (["serve", *CONFIG, "--certificates", "MADE/a"], "no list of sites"),
        (["serve", *CONFIG, "--certificates", "MADE/server", "--share", "0"], "takes: server"),
        (["serve", *CONFIG, "--certificates", "MADE/server", "--trainer.alpha", "2"], "alpha is 2"),
        (
            ["serve", *CONFIG, "--trainer", "trainers.gan.GANTrainer", "--certificates", "MADE/server"],
            "cannot be divided",
        ),
        (
            ["join", *CONFIG, "--certificates", "MADE/a", "--server", "a:1", "--run.fresh", "true"],
            "choose another run.name",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    if any("MADE" in word for word in words):
        assert main(["privacy", "certificates", str(made), "--sites", "a,b"]) == 0
    words = [word.replace("MADE", str(made)).replace("DIR", str(tmp_path / "new")) for word in words]
    place = [] if words[0] in ("certificates", "servee") else ["--run.root", str(tmp_path / "runs")]
    assert main(["privacy", *words, *place]) == 2
    shown = capsys.readouterr().err.strip().splitlines()
    assert said in shown[-1] and "Traceback" not in "".join(shown)


def test_all_sides_in_one_process_are_a_run_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *CONFIG, "--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main([*words, "--run.steps", "10"]) == 0 and main(words) == 0
    run = tmp_path / "privacy-gan" / "digits-smoke"
    assert "no formal guarantee" in (run / "log.txt").read_text() and (run / "teacher.safetensors").exists()
    assert len(list((run / "samples").glob("*.png"))) == 2 * 3
    from gendistill.teacher import load

    assert load(run / "teacher.safetensors").metadata["privacy_gan"]["alpha"] == 0.4


def test_a_site_whose_server_is_away_waits_and_then_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["privacy", "certificates", str(tmp_path / "c"), "--sites", "a"]) == 0
    words = ["--certificates", str(tmp_path / "c" / "a"), "--server", "localhost:1", "--patience", "0"]
    assert main(["privacy", "join", *CONFIG, *words, "--run.root", str(tmp_path / "runs"), "--share", "0"]) == 1
    shown = capsys.readouterr().err
    assert "does not answer" in shown and "give the same command again" in shown
