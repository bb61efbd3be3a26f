"""The configs of GANs with stronger terms: they train, and they start from the run that they name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.config.merge import at_scale
from gendistill.teacher import load
from gendistill.yaml_file import read_yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = ["mnist-feature-matching-term", "mnist-gradient-matching-term", "mnist-meta-term"]
SMALL = ["--run.device", "cpu", "--run.progress", "false", "--run.sample_every", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    config = str(CONFIGS / "quickstart" / "gan.yaml")
    assert main(["train", "--config", config, "--run.root", str(root), "--run.steps", "2", *SMALL]) == 0
    return root / "quickstart" / "gan"


@pytest.mark.parametrize("name", NAMES)
def test_the_smoke_scale_trains(name: str, tmp_path: Path) -> None:
    # Digits are at hand everywhere; they are 8x8, so the generator starts at 4x4.
    words = ["--data.name", "digits", "--trainer.generator.init_args.bottom_width", "4", "--run.root", str(tmp_path)]
    assert main(["train", "--config", str(CONFIGS / "gan" / f"{name}.yaml"), "--scale", "smoke", *words, *SMALL]) == 0
    images, _ = load(tmp_path / f"{name}-smoke" / "teacher.safetensors").sample(10, torch.Generator().manual_seed(0))
    assert images.shape == (10, 1, 8, 8) and images.isfinite().all() and images.std() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_for_digits_continues_the_quickstart(name: str, trained: Path, tmp_path: Path) -> None:
    words = ["--trainer.initial_generator", str(trained), "--run.root", str(tmp_path), "--run.steps", "1"]
    assert main(["train", "--config", str(CONFIGS / "gan" / f"{name}.yaml"), "--scale", "digits", *words, *SMALL]) == 0
    before, after = (
        dict(load(run / "teacher.safetensors").tensors()) for run in (trained, tmp_path / f"{name}-digits")
    )
    weights = [key for key in before if key.endswith("weight")]
    moved = [(after[key] - before[key]).abs().max().item() for key in weights]
    assert 0 < max(moved) < 0.01  # one step of Adam away, not another network


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("scale", "run"), [("reduced", "mnist-cgan-pd-reduced"), ("paper", "mnist-cgan-pd-paper")])
def test_networks_are_those_of_the_run_that_it_starts_from(name: str, scale: str, run: str) -> None:
    own, first = (
        at_scale(read_yaml(path), scale, str(path))
        for path in (CONFIGS / "gan" / f"{name}.yaml", CONFIGS / "gan" / "mnist-cgan-pd.yaml")
    )
    assert own["trainer"]["init_args"]["initial_generator"] == f"checkpoints/{run}"
    assert first["run"]["name"] == run and own["run"]["name"] == f"{name}-{scale}"
    for network in ("generator", "discriminator"):
        assert own["trainer"]["init_args"][network] == first["trainer"]["init_args"][network]
