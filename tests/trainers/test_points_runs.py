"""GANs on points, from the configs to the pictures: nothing is squashed, clipped or tiled that is no picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from gendistill.cli import main
from gendistill.commands.report import grid_of
from gendistill.teacher import load
from gendistill.teacher.clouds import members

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize("scale", [["smoke"], ["smoke", "--dataset", "grid:veegan"]], ids=["ring", "grid"])
def test_a_run_of_groups_shows_each_and_all_and_a_film(scale: list[str], tmp_path: Path) -> None:
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", "--config", str(CONFIGS / "mggan" / "ring.yaml"), "--scale", *scale, *place]) == 0
    run = tmp_path / "mggan" / "ring-smoke"
    names = {path.name for path in (run / "samples").iterdir()}
    steps = ("0000010", "0000020")
    pictures = {f"{name}-{step}.png" for name in ("points", "points-0", "points-1") for step in steps}
    assert names == pictures | {"points.gif"}
    with Image.open(run / "samples" / "points.gif") as film, Image.open(run / "samples" / "points-0000020.png") as last:
        assert getattr(film, "n_frames", 1) == 2 and film.size == last.size == (420, 442)  # the step above it
    teacher = load(run / "teacher.safetensors")
    assert teacher.description.cloud is not None and len(members(teacher)) == 2
    points, _ = teacher.sample(50, torch.Generator().manual_seed(0))
    assert points.shape == (50, 2, 1, 1)
    assert grid_of(teacher).pixels.shape == (1, 3, 420, 420)


@pytest.mark.parametrize("scale", ["smoke", "reduced", "veegan"])
def test_the_scales_of_one_gan_build(scale: str, tmp_path: Path) -> None:
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    short = ["--run.steps", "3", "--run.save_every", "3", "--run.sample_every", "0"]
    assert main(["train", "--config", str(CONFIGS / "gan" / "ring.yaml"), "--scale", scale, *place, *short]) == 0


@pytest.mark.parametrize("scale", ["gap", "ensemble", "reduced"])
def test_the_controls_build(scale: str, tmp_path: Path) -> None:
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    short = ["--run.steps", "3", "--run.save_every", "3", "--run.sample_every", "0", "--trainer.groups", "3"]
    assert main(["train", "--config", str(CONFIGS / "mggan" / "ring.yaml"), "--scale", scale, *place, *short]) == 0


def test_labels_can_be_told_and_images_distilled(tmp_path: Path) -> None:
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false", "--dataset", "ring:d2gan"]
    words = ["--trainer", "trainers.gan.ConditionalGANTrainer", "--run.steps", "2", "--run.name", "told"]
    networks = [
        "--trainer.generator", "{class_path: ConditionalPointGenerator, init_args: {nz: 4, widths: [8]}}",
        "--trainer.discriminator", "{class_path: ConditionalPointDiscriminator, init_args: {widths: [8]}}",
    ]  # fmt: skip
    assert main(["train", *words, *networks, "--trainer.n_dis", "1", *place]) == 0


def test_augmenting_points_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    config = str(CONFIGS / "gan" / "ring.yaml")
    assert main(["train", "--config", config, "--scale", "smoke", "--trainer.diff_augment", "color", *place]) == 2
    assert "augmentation 'color' is for pictures, and these are points" in capsys.readouterr().err
    assert main(["train", "--config", config, "--scale", "smoke", "--dataset", "digits", *place]) == 2
    assert "networks for points take images of shape (2, 1, 1)" in capsys.readouterr().err
