"""The example that the documentation shows: outside the package, trained from its own folder."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.config.command_line import assemble, take_apart
from gendistill.declared import accepted_arguments
from gendistill.objects import locate

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
ROOT = EXAMPLES.parents[1]


SHOWN = ("brightness_gan", "probe_gan", "varied_gtn", "contrast_dm", "smooth")
PAGE = (ROOT / "docs" / "add-a-loss.md").read_text()


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_file_that_runs(name: str) -> None:
    assert (EXAMPLES / f"{name}.py").read_text().strip() in PAGE


def test_the_examples_are_checked_for_their_types() -> None:
    checked = configparser.ConfigParser()
    checked.read(ROOT / "setup.cfg")
    assert checked["mypy"]["modules"].split(", ") == sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert set(SHOWN) <= {path.stem for path in EXAMPLES.glob("*.py")}


def test_every_config_of_the_page_takes_the_term() -> None:
    named = re.findall(r"--config (configs/\S+) --trainer.terms", PAGE)
    assert len(named) == 8
    for path in named:
        words = take_apart(["--config", str(ROOT / path), "--scale", "smoke"])
        experiment = assemble(words)
        kind = locate(experiment.trainer_class.__module__ + "." + experiment.trainer_class.__qualname__)
        assert kind.takes_terms and "terms" in accepted_arguments(kind), path


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("probe_gan", {"train/loss/probe", "train/loss/extra"}),
        ("varied_gtn", {"train/images/spread", "train/loss/extra"}),
        ("contrast_dm", {"train/loss/contrast", "train/loss/extra"}),
    ],
)
def test_worked_examples_train_and_log_under_the_tags_that_help_lists(
    name: str, tags: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for ending in ("py", "yaml"):
        (tmp_path / f"{name}.{ending}").write_text((EXAMPLES / f"{name}.{ending}").read_text())
    (tmp_path / "smooth.py").write_text((EXAMPLES / "smooth.py").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    terms = "[{class_path: smooth.Smooth, init_args: {weight: 0.1}}]"
    words = ["train", "--config", f"{name}.yaml", "--scale", "smoke", "--trainer.terms", terms]
    assert main([*words, "--help"]) == 0
    listed = capsys.readouterr().out.split("in TensorBoard as train/<name>:")[1]
    assert main(words) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((tmp_path / "checkpoints").iterdir())))
    events.Reload()
    logged = {tag for tag in events.Tags()["scalars"] if tag.startswith("train/")}
    assert tags | {"train/term/smooth"} <= logged
    assert all(tag.removeprefix("train/") in re.split(r"[,\s]+", listed) for tag in logged)


def test_the_class_is_under_twenty_lines() -> None:
    source = (EXAMPLES / "brightness_gan.py").read_text()
    body = [line for line in source[source.index("class BrightnessGAN") :].splitlines() if line.strip()]
    assert len(body) < 20


def test_it_trains_from_a_folder_outside_the_package_and_logs_its_term(tmp_path: Path) -> None:
    for name in ("brightness_gan.py", "brightness_gan.yaml"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text())
    words = ["train", "--config", "brightness_gan.yaml", "--scale", "smoke", "--trainer.weight", "0.25"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train.py"), *words[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "checkpoints" / "brightness-gan"
    assert (run / "teacher.safetensors").is_file()
    assert "weight: 0.25" in (run / "config.yaml").read_text()
    assert "loss/brightness" in (run / "log.txt").read_text()


def test_a_typo_in_its_option_is_named(tmp_path: Path) -> None:
    text = (EXAMPLES / "brightness_gan.yaml").read_text()
    (tmp_path / "brightness_gan.py").write_text((EXAMPLES / "brightness_gan.py").read_text())
    (tmp_path / "brightness_gan.yaml").write_text(text.replace("weight:", "wieght:"))
    command = [sys.executable, str(ROOT / "tools" / "train.py"), "--config", "brightness_gan.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean 'weight'" in done.stderr and "Traceback" not in done.stderr
