"""The configs of trajectory matching: published settings, scales that train, rows of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications
from gendistill.config.base import read_config
from gendistill.config.merge import at_scale
from gendistill.teacher import StoredImages, load

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Table 6 of Shi & Chen 2022, in %. Typed again here, so that a slip in a config is noticed.
TABLE = {"real": 45.75, "noise": 35.97}


@pytest.mark.parametrize(("name", "per_class"), [("digits", 5), ("mnist", 1), ("cifar10", 1), ("cifar10-datm", 1)])
def test_the_smoke_scale_trains(name: str, per_class: int, tmp_path: Path) -> None:
    words = ["--config", str(CONFIGS / "mtt" / f"{name}.yaml"), "--scale", "smoke", "--data.name", "digits"]
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", *words, *place]) == 0
    found = load(tmp_path / "mtt" / f"{name}-smoke" / "teacher.safetensors")
    assert isinstance(found, StoredImages) and found.images.isfinite().all()
    assert found.images_stored == 10 * per_class and found.labels_are_soft == (name == "cifar10-datm")
    assert found.metadata["augmentation"] == ("none" if name == "digits" else "color_crop_cutout_scale_rotate")
    assert len(list((tmp_path / "experts").glob("digits-*/expert-*.safetensors"))) == (2 if name == "digits" else 1)


def test_the_settings_for_a_gpu_are_those_published() -> None:
    config = at_scale(read_config(CONFIGS / "mtt" / "cifar10.yaml"), "paper", "cifar10")
    options = config["trainer"]["init_args"]
    # DC-BENCH's readme of the authors' parameters, ten images of each class.
    assert (options["inner"]["steps"], options["expert_epochs"], options["max_start_epoch"]) == (30, 2, 20)
    assert (options["lr_images"], options["learning_rate"], options["experts"]) == (100.0, 0.001, 100)
    assert options["expert"] == {"lr": 0.01, "augment": "dsa"} and config["run"]["steps"] == 5000
    assert config["data"] == {"name": "cifar10", "whitening": 0.1}
    aligned = at_scale(read_config(CONFIGS / "mtt" / "cifar10-datm.yaml"), "paper", "cifar10-datm")
    options = aligned["trainer"]["init_args"]
    assert (options["inner"]["steps"], options["inner"]["batch_size"], options["lr_labels"]) == (80, 100, 2.0)
    assert (options["first_max_start_epoch"], options["max_start_epoch"], options["widen_steps"]) == (10, 20, 1000)
    assert aligned["run"]["steps"] == 10000 and options["ema_decay"] == 0.9995


@pytest.mark.parametrize("start", list(TABLE))
@pytest.mark.parametrize("scale", ["reduced", "two-cores", "paper"])
def test_rows_of_the_report_have_its_numbers_and_fit_the_trainer(start: str, scale: str) -> None:
    row = Replications(CONFIGS / "replication", scale).open(f"ece-t6-mtt-{start}")
    assert row.reported is not None and row.reported.accuracy == pytest.approx(TABLE[start] / 100)
    assert row.plan.learning is not None and row.plan.learning["protocol"] == "shi-chen"
    experiment = row.experiment(0).to_dict()
    options = experiment["trainer"]["init_args"]
    assert options["images"] == start and options["images_per_class"] == 10
    assert experiment["data"]["name"] == ("digits" if scale == "reduced" else "cifar10")
    if scale == "paper":
        assert experiment["run"]["steps"] == 1000
        assert (options["experts"], options["inner"]["steps"], options["expert_epochs"]) == (10, 30, 2)
        assert options["max_start_epoch"] == 15


def test_a_row_is_replicated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["replicate", "ece-t6-mtt-noise", "--scale", "smoke", "--seeds", "2", "--root", str(tmp_path)]
    assert main([*words, "--configs", str(CONFIGS / "replication"), "--run.device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "Shi & Chen 2022" in text and "35.97" in text
    runs = list((tmp_path / "replication/smoke/digits/ece-t6-mtt-noise").glob("seed-*/teacher.safetensors"))
    assert len(runs) == 2 and len(list((tmp_path / "experts").iterdir())) == 1  # which both seeds share
