"""The configs of gradient and distribution matching: published settings, scales that train, rows of the report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.commands.replication import Replications
from gendistill.config.base import read_config
from gendistill.config.merge import at_scale
from gendistill.teacher import StoredImages, load
from trainers.gradient_matching import LOOPS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TODAY = ["dc/cifar10-idc", "dm/mnist-10", "dm/cifar10-10", "dm/cifar10-idm", "dm/mnist-ncfm", "dm/cifar10-dream"]
SCALED = ["dc/mnist", "dc/mnist-dsa", "dc/cifar10", "dc/cifar10-dsa", "dm/mnist", "dm/cifar10"]

# Tables 1-4, 6-8 and section 2.3 of Shi & Chen 2022, in %. Typed again here, so that a slip in a config is noticed.
TABLE = {
    "t1-mnist": 99.06,
    "t1-cifar": 72.34,
    "2.3-vgg11": 32.21,
    "t2-mnist-real": 94.39,
    "t2-mnist-noise": 94.07,
    "t2-cifar-real": 38.50,
    "t2-cifar-noise": 35.37,
    "t3-lenet-mnist-real": 88.27,
    "t3-lenet-mnist-noise": 84.67,
    "t3-lenet-cifar-real": 25.83,
    "t3-lenet-cifar-noise": 24.24,
    "t4-nas-d1": 83.81,
    "t4-nas-d2": 91.27,
    "t4-nas-d4": 94.67,
    "t6-gm-real": 39.19,
    "t6-gm-noise": 36.39,
    "t7-dm-real": 94.68,
    "t7-dm-noise": 94.27,
    "t8-dm-real": 44.01,
    "t8-dm-noise": 43.55,
}


@pytest.mark.parametrize("name", [*SCALED, "dm/mnist-fast", *TODAY])
def test_the_smoke_scale_trains(name: str, tmp_path: Path) -> None:
    words = ["--config", str(CONFIGS / f"{name}.yaml"), "--scale", "smoke", "--data.name", "digits"]
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", *words, *place]) == 0
    found = load(tmp_path / f"{name}-smoke" / "teacher.safetensors")
    assert isinstance(found, StoredImages) and found.label_counts == [10] * 10 and found.images.isfinite().all()
    # Digits are not mirrored.
    augmented = "dsa" in name or name.startswith("dm") or name in TODAY
    dsa = "color_crop_cutout" if "ncfm" in name else "color_crop_cutout_scale_rotate"
    assert found.metadata["augmentation"] == (dsa if augmented else "none")
    assert found.decoded_images == (400 if name in TODAY else 100)


@pytest.mark.parametrize("name", ["rded/digits", "rded/cifar10-10", "rded/mnist-10"])
def test_crops_are_chosen_at_the_smoke_scale(name: str, tmp_path: Path) -> None:
    words = ["--config", str(CONFIGS / f"{name}.yaml"), "--scale", "smoke", "--data.name", "digits"]
    place = ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", *words, *place]) == 0
    found = load(tmp_path / f"{name}-smoke" / "teacher.safetensors")
    assert isinstance(found, StoredImages) and found.labeller is not None and found.images.isfinite().all()


AS_IDC = {"augment": "color_crop_flip_scale_rotate", "augment_mode": "idc", "cutmix": 0.5}
"""How IDC and NCFM teach the networks in which they match."""


def test_idc_takes_a_new_network_for_every_hundred_matches_which_learns_from_real_images_in_between() -> None:
    config = at_scale(read_config(CONFIGS / "dc/cifar10-idc.yaml"), "paper", "idc")
    options = config["trainer"]["init_args"]
    assert config["run"]["steps"] == 2000 * 100 and (options["outer_loops"], options["inner_loops"]) == (1, 0)
    # 2,000 real images in batches of 64; one network at a time.
    assert options["probe"] == {
        "state": "growing", "size": 1, "first": 1, "every": 100, "taught": 1, "steps": -(-2000 // 64), "batch_size": 64,
        **AS_IDC,
    }  # fmt: skip
    assert options["augment"] == "color_crop_cutout" and options["augment_mode"] == "idc"
    assert options["lr_images"] == 0.005 / 0.25**2 and options["distance"] == "mse" and options["real_batch"] == 64


def test_the_settings_of_idm_and_ncfm_for_a_gpu_are_those_published() -> None:
    idm, ncfm = (at_scale(read_config(CONFIGS / f"dm/cifar10-{name}.yaml"), "paper", name) for name in ("idm", "ncfm"))
    assert idm["run"]["steps"] == ncfm["run"]["steps"] == 20_000
    options = idm["trainer"]["init_args"]
    assert options["probe"] == {
        "state": "growing", "size": 100, "first": 3, "every": 30, "taught": 2, "steps": 10, "batch_size": 256,
    }  # fmt: skip
    assert (options["lr_images"], options["momentum"], options["real_batch"]) == (0.2, 0.5, 256)
    assert options["cross_entropy"] == 0.5 * 100 and options["decode"] == {"factor": 2}
    options = ncfm["trainer"]["init_args"]
    assert options["characteristic"] == {"frequencies": 4096, "amplitude": 0.5, "phase": 0.5, "scale": 300.0}
    assert options["probe"]["size"] == 20 and options["probe"]["steps"] == 60 * 50_000 // 128 // 100 * 100
    assert options["real_batch"] == 1024 and options["augment"] == "color_crop_cutout"
    assert options["augment_mode"] == "idc"
    assert options["probe"] | AS_IDC | {"schedule": "two-steps"} == options["probe"]


@pytest.mark.parametrize("name", SCALED)
def test_the_settings_for_a_gpu_are_those_published(name: str) -> None:
    config = at_scale(read_config(CONFIGS / f"{name}.yaml"), "paper", name)
    options = config["trainer"]["init_args"]
    assert options["images_per_class"] == 10 and options["real_batch"] == 256 and options["momentum"] == 0.5
    assert "learner" not in options and config["run"]["name"] == f"{name}-paper"
    assert config["data"]["name"] == name.split("/")[1].split("-")[0]
    if name.startswith("dm"):
        assert (options["lr_images"], config["run"]["steps"], options["images"]) == (1.0, 20000, "real")
        return
    assert (options["lr_images"], options["lr_network"]) == (0.1, 0.01)
    assert config["run"]["steps"] == 1000 * LOOPS[10][0] and options["outer_loops"] is options["inner_loops"] is None
    assert (options["images"], options["augment"]) == (("real", "dsa") if "dsa" in name else ("noise", "none"))


def test_rows_of_the_report_have_its_numbers() -> None:
    rows = Replications(CONFIGS / "replication", "paper")
    for name, accuracy in TABLE.items():
        row = rows.open(f"ece-{name}")
        assert row.reported is not None and row.reported.accuracy == pytest.approx(accuracy / 100)
        assert row.plan.learning is not None and row.plan.learning["protocol"] == "shi-chen"
        config = at_scale(read_config(row.path), "paper", row.path)
        assert config["trainer"]["init_args"]["images"] == ("noise" if name.endswith("noise") else "real")
        assert ("distribution" in config["trainer"]["class_path"]) == ("-dm-" in name)
        cifar = "cifar" in name or name.startswith(("t6", "t8", "2.3"))
        assert config["data"]["name"] == ("cifar10" if cifar else "mnist"), name
        made_elsewhere = name.startswith(("t3", "t4", "t6", "2.3"))  # tests/commands/test_replicate_other.py says where
        assert made_elsewhere or row.plan.teacher == ("real" if name.startswith("t1") else "run")


@pytest.mark.parametrize("scale", ["reduced", "two-cores", "paper"])
@pytest.mark.parametrize("name", ["ece-t2-cifar-noise", "ece-t4-nas-d4", "ece-t8-dm-real", "ece-2.3-vgg11"])
def test_rows_fit_their_trainers(name: str, scale: str) -> None:
    options = Replications(CONFIGS / "replication", scale).open(name).experiment(0).to_dict()
    published = "mnist" if "nas" in name else "cifar10"
    assert options["data"]["name"] == ("digits" if scale == "reduced" else published)
    assert options["trainer"]["init_args"]["images_per_class"] == 10


@pytest.mark.parametrize("name", ["ece-t3-lenet-mnist-noise", "ece-t7-dm-real", "ece-2.3-vgg11"])
def test_a_row_is_replicated(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["replicate", name, "--scale", "smoke", "--seeds", "1", "--root", str(tmp_path)]
    assert main([*words, "--configs", str(CONFIGS / "replication"), "--run.device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "Shi & Chen 2022" in text and f"{TABLE[name.removeprefix('ece-')]:.2f}" in text
    (run,) = (tmp_path / "replication/smoke/digits").glob("*/seed-0/teacher.safetensors")
    assert torch.isfinite(load(run).sample(10, torch.Generator())[0]).all()


def test_all_real_images_need_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["replicate", "ece-t1-cifar", "--scale", "smoke", "--seeds", "1", "--root", str(tmp_path)]
    assert main([*words, "--configs", str(CONFIGS / "replication"), "--run.device", "cpu"]) == 0
    assert "72.34" in capsys.readouterr().out
    assert not list(tmp_path.rglob("teacher.safetensors"))
