"""The configs of dataset distillation: each scale can be built, the smallest trains, sweeps are judged as they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications
from gendistill.config.command_line import assemble, take_apart
from gendistill.evaluation.pretraining import Pretraining
from gendistill.teacher import StoredImages, load

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "dd"
ADAPT = ["adapt-usps-mnist", "adapt-mnist-usps", "adapt-svhn-mnist"]
SCALED = ["mnist-fixed", "mnist-random", *ADAPT]
RAT = ["rat-bptt-digits", "rat-bptt-cifar10"]
SWEPT = {"mnist-images": "trainer.inner.steps=1,2", "mnist-layers": "trainer.fixed_layers=0,5"}


@pytest.mark.parametrize("name", SCALED)
def test_the_smoke_scale_trains(name: str, tmp_path: Path) -> None:
    words = ["--config", str(CONFIGS / f"{name}.yaml"), "--scale", "smoke", "--data.name", "digits"]
    words += ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    words += ["--trainer.source.name", "digits"] if name in ADAPT else []
    assert main(["train", *words]) == 0
    found = load(tmp_path / "dd" / f"{name}-smoke" / "teacher.safetensors")
    assert isinstance(found, StoredImages) and found.order == "fixed" and found.images.isfinite().all()
    assert (Pretraining.of(found) is not None) == (name in ADAPT)


@pytest.mark.parametrize("name", [*SCALED, *SWEPT])
def test_the_paper_scale_is_that_of_the_authors(name: str) -> None:
    made = assemble(take_apart(["--config", str(CONFIGS / f"{name}.yaml"), "--scale", "paper"]))
    given, options = made.init_args, made.options
    made.build_trainer()
    steps = 1 if name == "mnist-fixed" else 10
    assert (given["inner"]["steps"], given["inner"]["epochs"], given["images_per_class"]) == (steps, 3, 1)
    assert (given["batch_size"], given["meta_lr"], given["learning_rate"]) == (1024, 0.01, 0.02)
    assert options.steps == 10 * given["decay_every"]  # 400 epochs, a decay every 40
    if name in ADAPT:
        assert (given["victim"], given["victims"], given["meta_batch"]) == ("trained", 200, 4)


@pytest.mark.parametrize("name", RAT)
def test_rat_bptt_trains_at_the_smoke_scale(name: str, tmp_path: Path) -> None:
    words = ["--config", str(CONFIGS / f"{name}.yaml"), "--scale", "smoke", "--data.name", "digits"]
    words += ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", *words]) == 0
    found = load(tmp_path / "dd" / f"{name}-smoke" / "teacher.safetensors")
    assert isinstance(found, StoredImages) and found.order == "stratified" and found.images.isfinite().all()
    assert found.metadata["optimizer"] == "adam"


def test_rat_bptt_is_that_of_the_published_command() -> None:
    made = assemble(take_apart(["--config", str(CONFIGS / "rat-bptt-cifar10.yaml")]))
    options = made.build_trainer().options
    assert (options.total, options.window, options.optimizer, options.batch_size) == (200, 60, "adam", 100)
    assert options.window_end == "random"
    given = made.init_args
    assert (given["learning_rate"], given["learn_learning_rates"], given["meta_lr"]) == (0.001, False, 0.001)
    assert given["augment"] == given["augment_real"] == "flip_rotate" and given["batch_size"] == 5000
    assert made.data["whitening"] == 0.1 and given["images"] == "noise" and given["average_clip"] == 2.0


@pytest.mark.parametrize("name", [*SCALED, *SWEPT])
def test_the_reduced_scale_can_be_built(name: str) -> None:
    made = assemble(take_apart(["--config", str(CONFIGS / f"{name}.yaml"), "--scale", "reduced"]))
    made.build_trainer()
    assert made.options.name == f"dd/{name}-reduced"


@pytest.mark.parametrize("scale", ["smoke", "reduced", "paper"])
@pytest.mark.parametrize("name", SWEPT)
def test_a_sweep_is_judged_after_the_steps_that_it_was_made_for(name: str, scale: str) -> None:
    swept = Replications(CONFIGS, scale).open(name)
    given = swept.experiment(0).init_args
    assert swept.plan.learning is not None
    assert swept.plan.learning["epochs"] == given["inner"]["epochs"] and swept.plan.learning["batch_size"] == 10
    assert swept.plan.beside == {"random real images": "real:subset=same"}


def test_the_sweep_over_layers_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(CONFIGS / "mnist-layers.yaml"), "--over", SWEPT["mnist-layers"], "--scale", "smoke", "--seeds", "1"]
    words += ["--data.name", "digits", "--root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["sweep", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [[row["name"] for row in point["rows"]] for point in found["points"]] == 2 * [
        ["mnist-layers", "random real images"]
    ]
    assert (tmp_path / "replication/smoke/digits/mnist-layers-fixed_layers/sweep.png").is_file()
