from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gendistill.cli import main
from tests.same_teacher import alike


def test_a_users_trainer_trains_and_says_where_things_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "c.yaml"]) == 0
    said = capsys.readouterr().out
    assert "runs/picked" in said and "gendistill tensorboard --logdir runs" in said
    assert {"config.yaml", "state.pt", "teacher.safetensors"} <= {
        path.name for path in (place / "runs/picked").iterdir()
    }


def test_json_is_the_only_thing_on_stdout(place: Path, run_json) -> None:
    result = run_json("train", "--config", "c.yaml", "--scale", "smoke", "--json")
    assert result["steps"] == 2 and Path(result["teacher"]).is_file() and result["metrics"]["loss/total"] == 1.5


def test_the_printed_config_alone_repeats_the_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "smoke", "--trainer.images_per_class", "3", "--run.seed", "5"]
    assert main(["train", "--config", "c.yaml", *words, "--print_config"]) == 0
    printed = capsys.readouterr().out
    (place / "complete.yaml").write_text(printed)
    assert main(["train", "--config", "complete.yaml", "--print_config"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["train", "--config", "complete.yaml"]) == 0
    assert yaml.safe_load((place / "runs/picked/config.yaml").read_text()) == yaml.safe_load(printed)
    capsys.readouterr()
    # What the run kept beside its teacher starts the very same run elsewhere.
    assert main(["train", "--config", "runs/picked/config.yaml", "--run.name", "again"]) == 0
    assert alike(*(place / "runs" / name / "teacher.safetensors" for name in ("picked", "again")))


def test_help_shows_every_option_with_its_default(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "c.yaml", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--trainer.images_per_class IMAGES_PER_CLASS How many of each class. (type: int, default: 2)" in said
    assert "(type: int, default: 8)" in said  # the config's batch size
    for option in ("--run.steps", "--run.fresh", "--scale NAME", "--print_config", "--data-root DIR"):
        assert option in said
    assert main(["train", "--trainer.help", "users_picker.Picker"]) == 0
    assert "--trainer.bad_step" in capsys.readouterr().out
    assert main(["train", "--help"]) == 0
    assert "--trainer CLASS --help" in capsys.readouterr().out


def test_a_diverging_run_fails_with_one_sentence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "c.yaml", "--trainer.bad_step", "1"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and "loss/total" in said
