"""The configs of latent searches: they search, and they name the run of the GAN config that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.config.merge import at_scale
from gendistill.teacher import load
from gendistill.yaml_file import read_yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SMALL = ["--run.device", "cpu", "--run.progress", "false", "--run.sample_every", "0"]


@pytest.mark.parametrize("name", ["mnist", "mnist-features"])
def test_the_smoke_scale_searches(name: str, tmp_path: Path) -> None:
    gan = [
        "--scale", "smoke", "--data.name", "digits", "--trainer.generator.init_args.bottom_width", "4",
        "--run.root", str(tmp_path), "--run.name", "gan",
    ]  # fmt: skip
    assert main(["train", "--config", str(CONFIGS / "gan/mnist-cgan-pd.yaml"), *gan, *SMALL]) == 0
    words = ["--scale", "smoke", "--trainer.generator", str(tmp_path / "gan"), "--run.root", str(tmp_path)]
    assert main(["train", "--config", str(CONFIGS / f"latent/{name}.yaml"), *words, "--run.name", "x", *SMALL]) == 0
    teacher = load(tmp_path / "x/teacher.safetensors")
    assert teacher.images_stored == 10
    assert teacher.kind == ("generator" if name == "mnist" else "stored-images")


@pytest.mark.parametrize("scale", ["reduced", "paper"])
def test_the_generator_is_the_run_of_the_gan_config(scale: str) -> None:
    gan = at_scale(read_yaml(CONFIGS / "gan/mnist-cgan-pd.yaml"), scale, "gan")
    search = read_yaml(CONFIGS / "latent/mnist.yaml")
    search = at_scale(search, scale, "search") if scale in search["scales"] else search
    assert search["trainer"]["init_args"]["generator"] == f"checkpoints/{gan['run']['name']}"
