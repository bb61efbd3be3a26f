"""The configs of our own networks: the networks of each scale fit the data set, and the smoke scale trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gendistill.cli import main
from gendistill.config.merge import at_scale
from gendistill.objects import build
from gendistill.teacher import load
from gendistill.yaml_file import read_yaml
from tests.same_teacher import alike

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "gan"
NAMES = ["cifar10-cgan-pd", "cifar10-sngan", "cifar10-wgan-gp", "mnist-cgan-pd", "mnist-dcgan", "mnist-wgan"]
CONFIGS = [FOLDER / f"{name}.yaml" for name in NAMES]
SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["smoke", "reduced", "paper"])
def test_networks_fit_the_data_set(path: Path, scale: str) -> None:
    config = at_scale(read_yaml(path), scale, str(path))
    arguments, shape = config["trainer"]["init_args"], SHAPES[config["data"]["name"]]
    assert config["run"]["name"] == f"{path.stem}-{scale}"
    made = [
        build(arguments[name], nn.Module, num_classes=10, image_shape=shape, loss_type="hinge")
        for name in ("generator", "discriminator")
    ]
    for network in made:
        network.eval()
    with torch.no_grad():
        labels = torch.tensor([3])
        images = made[0](torch.zeros(1, made[0].nz), labels)
        assert images.shape == (1, *shape)
        assert made[1](images, labels).shape == (1, 1)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_smoke_scale_trains(path: Path, tmp_path: Path) -> None:
    # Digits are at hand everywhere; they are 8x8, so the generator starts at 4x4.
    words = ["--data.name", "digits", "--trainer.generator.init_args.bottom_width", "4"]
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", "--config", str(path), "--scale", "smoke", *words, *place]) == 0
    run = tmp_path / f"{path.stem}-smoke"
    images, labels = load(run / "teacher.safetensors").sample(20, torch.Generator().manual_seed(0))
    assert images.shape == (20, 1, 8, 8) and images.abs().max() <= 1 and images.std() > 0.01
    assert main(["train", "--config", str(run / "config.yaml"), "--run.name", "again"]) == 0
    assert alike(tmp_path / "again" / "teacher.safetensors", run / "teacher.safetensors")


@pytest.mark.parametrize("name", ["unrolled", "pacgan", "d2gan", "relativistic"])
def test_the_smoke_scale_of_a_baseline_trains(name: str, tmp_path: Path) -> None:
    path = FOLDER / f"digits-{name}.yaml"
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", "--config", str(path), "--scale", "smoke", *place]) == 0
    images, _ = load(tmp_path / f"gan/digits-{name}-smoke/teacher.safetensors").sample(20, torch.Generator())
    assert images.shape == (20, 1, 8, 8) and images.std() > 0.01
