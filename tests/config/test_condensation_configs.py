"""The configs of batch condensation: the smoke scale trains, and its replication is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.config.command_line import assemble, take_apart
from gendistill.teacher import load

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize(("name", "images"), [("digits", 64), ("digits-twice", 32)])
def test_the_smoke_scale_trains(name: str, images: int, tmp_path: Path) -> None:
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", "--config", str(CONFIGS / "condensation" / f"{name}.yaml"), "--scale", "smoke", *place]) == 0
    teacher = load(tmp_path / "condensation" / name / "teacher.safetensors")
    assert teacher.images_stored == images and teacher.labels_are_soft == (name == "digits-twice")


@pytest.mark.parametrize("name", ["digits-latent", "cifar10"])
def test_the_others_are_complete(name: str) -> None:
    words = ["--config", str(CONFIGS / "condensation" / f"{name}.yaml")]
    experiment = assemble(take_apart(words), None)
    experiment.build_trainer()
    steps, rounds = experiment.options.steps, experiment.init_args.get("rounds", 1)
    assert steps % rounds == 0


def test_the_replication_shows_a_random_half_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "smoke", "--seeds", "1", "--root", str(tmp_path), "--configs", str(CONFIGS / "replication")]
    assert main(["replicate", "bradley-fw-condense", *words, "--run.device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "random half" in json.dumps(result)
    run = tmp_path / "replication/smoke/digits/bradley-fw-condense/seed-0/teacher.safetensors"
    assert load(run).images_stored == 64
