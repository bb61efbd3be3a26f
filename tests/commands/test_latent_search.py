from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from gendistill.cli import main
from gendistill.commands.latent_search import TRAINER, norm_curve, search
from gendistill.config.command_line import assemble, take_apart
from gendistill.data import load as load_data
from gendistill.data.description import symmetric
from gendistill.objects import build
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, load, save


def small_generator(path: Path) -> None:
    description = load_data("digits").description
    with initialisation(0, "generator"):
        network = build(
            {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 8, "ngf": 8}},
            torch.nn.Module,
            num_classes=10,
            image_shape=description.image_shape,
        )
    save(GeneratorTeacher(network, description.with_normalisation(symmetric(1))), path)


def test_search_starts_from_its_seed_and_writes_before_and_after(place: Path) -> None:
    small_generator(place / "gan.safetensors")
    words = ["--trainer.generator", "gan.safetensors", "--images-per-class", "2", "--steps", "2", "--run.root", "runs",
             "--real_batch", "4", "--run.device", "cpu", "--run.progress", "false"]  # fmt: skip
    experiment = assemble(take_apart(words), "trainers.latent_search.LatentSearchTrainer")
    results, context = search(experiment, None, experiment.load_data())
    before, after = load(context.directory.path / "start.safetensors"), load(context.directory.teacher)
    assert Path(results["grid"]).read_bytes()[:4] == b"\x89PNG"
    assert Path(results["norms"]).read_bytes()[:4] == b"\x89PNG"
    with Image.open(results["film"]) as film:
        assert film.format == "GIF" and film.n_frames == 3  # type: ignore[attr-defined]
    norms = norm_curve(after)["latent norm"]
    assert norms["x"] == [0, 1, 2] and norms["reference"] == 8**0.5
    moved = (before.everything()[0] - after.everything()[0]).abs().amax((1, 2, 3))
    assert len(moved) == 20 and (moved > 0).all()
    # The same seed without a step gives the same start, bit for bit.
    again = assemble(
        take_apart([*words, "--run.name", "again", "--steps", "1"]), "trainers.latent_search.LatentSearchTrainer"
    )
    search(again, None, again.load_data())
    first = load(place / "runs/again/start.safetensors").everything()[0]
    assert torch.equal(first, before.everything()[0])


def test_inverted_starts_layers_and_no_film(place: Path) -> None:
    """What the search started from is told by the run itself, also where it cannot be made again from the seed."""
    small_generator(place / "gan.safetensors")
    words = ["--trainer.generator", "gan.safetensors", "--images-per-class", "1", "--steps", "1", "--run.root", "runs",
             "--real_batch", "4", "--run.device", "cpu", "--run.progress", "false", "--start", "inversion",
             "--inversion", "{steps: 2}", "--layer", "blocks.0", "--constraint", "none", "--film_frames", "0",
             "--objective", "[{class_path: thesis, weight: 0.5}, feature_matching]"]  # fmt: skip
    for _ in range(2):  # the second finds it finished
        experiment = assemble(take_apart(words), "trainers.latent_search.LatentSearchTrainer")
        results, context = search(experiment, None, experiment.load_data())
        assert results["film"] is None and Path(results["grid"]).is_file()
    before, after = load(context.directory.path / "start.safetensors"), load(context.directory.teacher)
    moved = (before.everything()[0] - after.everything()[0]).abs().amax((1, 2, 3))
    assert before.kind == after.kind == "stored-images" and (moved > 0).all()


def test_judging_is_as_typed_and_small_at_the_smoke_scale(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_generator(place / "gan.safetensors")
    (place / "c.yaml").write_text(
        f"trainer: {{class_path: {TRAINER}}}\nrun: {{name: a, root: runs, steps: 1}}\n"
        "scales: {smoke: {trainer: {init_args: {images_per_class: 1, real_batch: 2, film_frames: 0}}}}\n"
    )
    words = ["latent-search", "--config", "c.yaml", "--scale", "smoke"]
    assert main([*words, "--no-evaluate", "gan.safetensors"]) == 0  # the flag takes no value
    assert not (place / "runs/a/results.json").exists()
    assert main([*words, "gan.safetensors"]) == 0
    learning = json.loads((place / "runs/a/results.json").read_text())["teachers"][0]["learning"]
    assert learning["updates"] == [5, 10] and len(learning["seeds"]) == 2
    assert main([*words, "gan.safetensors", "--updates", "3", "--seeds=1", "--json"]) == 0
    learning = json.loads((place / "runs/a/results.json").read_text())["teachers"][1]["learning"]
    assert learning["updates"] == [3] and len(learning["seeds"]) == 1
    # Without a config the scale is there, too; what is typed wins.
    alone = ["latent-search", "gan.safetensors", "--scale", "smoke", "--images-per-class", "1", "--real-batch", "2"]
    for more, steps in (([], 10), (["--run.steps", "2", "--run.name", "b"], 2)):
        capsys.readouterr()
        assert main([*alone, *more, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["teachers"][0]["learning"]["updates"] == [5, 10]
        assert f"  steps: {steps}\n" in (Path(found["run"]) / "config.yaml").read_text()
    capsys.readouterr()
    assert main([*words, "gan.safetensors", "--updates", "soon"]) == 2
    assert main([*words, "gan.safetensors", "--generator", "gan.safetensors"]) == 2
    assert "the generator is given twice" in capsys.readouterr().err
