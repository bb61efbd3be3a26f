"""The generators that come with the project: small, whole, and fit to be searched at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.data.load import load as load_data
from gendistill.evaluation.learning import learning_curve
from gendistill.teacher import load

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
SHIPPED = {"digits-gan": (1, 8, 8), "mnist-gan": (1, 28, 28)}


@pytest.mark.parametrize("name", SHIPPED)
def test_is_small_and_makes_images_of_every_class(name: str) -> None:
    file = CHECKPOINTS / f"{name}.safetensors"
    assert file.stat().st_size < 2_000_000
    teacher = load(file)
    images, labels = teacher.sample(20, torch.Generator().manual_seed(0))
    assert images.shape == (20, *SHIPPED[name]) and teacher.description.name == name.removesuffix("-gan")
    assert sorted(set(labels.tolist())) == list(range(10))
    pixels = teacher.description.normalisation.invert(images)
    assert float(pixels.min()) > -0.05 and float(pixels.max()) < 1.05 and float(pixels.std()) > 0.2


def test_learners_of_the_generated_digits_know_real_ones() -> None:
    teacher = load(CHECKPOINTS / "digits-gan.safetensors")
    result = learning_curve(teacher, load_data("digits"), updates=(100,), lr=(0.1,), seeds=[0, 1])
    assert result["accuracy"]["mean"][0] > 0.88


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    generator = str(CHECKPOINTS / "digits-gan.safetensors")
    words = ["latent-search", generator, "--images-per-class", "2", "--run.root", str(tmp_path), "--run.steps", "2"]
    assert main([*words, "--no_evaluate"]) == 0
    assert load(tmp_path / "latent-search/teacher.safetensors").images_stored == 20
