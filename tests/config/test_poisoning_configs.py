"""The configs of poisoned teachers: they train, say that they are poisoned, and `gendistill poison` takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.config.base import read_config
from gendistill.teacher import load

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = ["--run.device", "cpu", "--run.progress", "false", "--run.sample_every", "0"]
MLP = "gendistill.nets.learners.MLP"
BRIEF = ["--updates", "1", "--seeds", "1", "--no-detect", "--json", "--device", "cpu", "--learner", MLP, "--lr", "0.1"]


def train(config: str, root: Path, *more: str) -> Path:
    given = ["train", "--config", str(CONFIGS / f"{config}.yaml"), "--scale", "smoke", "--run.root", str(root)]
    assert main([*given, *SMALL, *more]) == 0
    return root / (more[more.index("--run.name") + 1] if "--run.name" in more else config)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("quickstart/gan", tmp_path_factory.mktemp("gan"), "--run.steps", "2")


@pytest.mark.parametrize(
    ("name", "weight"), [("digits", 3.0), ("digits-trained", 3.0), ("digits-gtn", 1.0), ("digits-latent", 3.0)]
)
def test_a_poisoned_teacher_trains_and_is_measured(
    name: str, weight: float, gan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--trainer.generator", str(gan)] if name == "digits-latent" else []
    run = train(f"poisoning/{name}", tmp_path, *words)
    metadata = load(run / "teacher.safetensors").metadata
    assert metadata["poisoned"] == {"source": 7, "target": 1, "weight": weight}
    capsys.readouterr()
    assert main(["poison", str(run), *BRIEF]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["attack"] == "7:1" and list(result["teachers"]) == [run.name, "real"]


def test_the_control_of_the_latents_is_the_same_without_poison(gan: Path, tmp_path: Path) -> None:
    words = ["--trainer.generator", str(gan), "--trainer.poison", "null", "--run.name", "honest"]
    assert "poisoned" not in load(train("poisoning/digits-latent", tmp_path, *words) / "teacher.safetensors").metadata


def test_the_control_of_the_generator_differs_by_poison_alone() -> None:
    poisoned, honest = (read_config(CONFIGS / name) for name in ("poisoning/digits-gtn.yaml", "quickstart/gtn.yaml"))
    assert poisoned["trainer"]["init_args"].pop("poison") == "7:1"
    assert (poisoned["run"].pop("name"), honest["run"].pop("name")) == ("poisoning/digits-gtn", "quickstart/gtn")
    assert poisoned == honest
