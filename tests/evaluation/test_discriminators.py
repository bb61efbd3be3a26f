"""What a run's discriminators say of images: found in the run's files, packed as they were, and read as areas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score

from gendistill.cli import main
from gendistill.data import load as load_data
from gendistill.errors import UserError
from gendistill.evaluation.discriminators import packs
from gendistill.evaluation.symptoms import auc, auc_error, of_discriminator
from gendistill.runs.checkpoint import load_state
from gendistill.runs.directory import RunDirectory
from gendistill.runs.discriminators import discriminators

POINTS = "gendistill.nets.points."
NETWORKS = [
    "--trainer.generator", f"{{class_path: {POINTS}PointGenerator, init_args: {{nz: 4, widths: [8]}}}}",
    "--trainer.discriminator", f"{{class_path: {POINTS}PointDiscriminator, init_args: {{widths: [8]}}}}",
]  # fmt: skip


def trained(root: Path, name: str, *options: str) -> Path:
    words = ["--data.name", "ring:d2gan", "--run.root", str(root), "--run.name", name, "--run.steps", "2"]
    assert main(["train", *options, *words]) == 0
    return root / name


def test_areas_are_those_of_scikit_learn() -> None:
    one, other = torch.randn(60).double().round(decimals=1) + 0.5, torch.randn(80).double().round(decimals=1)
    truth = [1] * 60 + [0] * 80
    assert auc(one, other) == pytest.approx(roc_auc_score(truth, torch.cat([one, other]).numpy()), abs=1e-12)
    assert auc_error(0.5, 100, 100) == pytest.approx((201 / (12 * 100 * 100)) ** 0.5, rel=0.01)  # Mann-Whitney's own


def test_a_discriminator_that_has_won_is_fooled_or_remembers_is_said() -> None:
    real = torch.linspace(0, 1, 400).double()
    well = {"control": real, "train": real, "made": real - 0.2}
    assert not of_discriminator("discriminator", well)[0]["wrong"]
    for made, train, word in ((-1.0, 0.0, "has won"), (1.0, 0.0, "takes generated"), (-0.2, 0.3, "remembers")):
        found = of_discriminator("discriminator", {"control": real, "train": real + train, "made": real + made})[0]
        assert found["wrong"] and word in found["advice"]


def test_the_run_s_own_discriminator_is_found(tmp_path: Path) -> None:
    description = load_data("ring:d2gan").description
    run = trained(tmp_path, "one", "--trainer", "trainers.gan.GANTrainer", *NETWORKS)
    (judge,) = discriminators(run, description)
    state = load_state(RunDirectory(tmp_path, "one"), torch.device("cpu"))
    assert state is not None
    kept: dict[str, Any] = state["trainer"]["discriminator"]
    assert all(torch.equal(value, kept[name]) for name, value in judge.network.state_dict().items())
    images = torch.randn(7, 2, 1, 1)
    with torch.no_grad():
        assert torch.equal(judge.scores(images, torch.zeros(7)), judge.network(images).flatten().double())
    assert discriminators(run / "teacher.safetensors", description) == []


def test_groups_have_one_each_and_packs_are_judged_together(tmp_path: Path) -> None:
    description = load_data("ring:d2gan").description
    config = tmp_path / "groups.yaml"
    config.write_text(
        "trainer: {class_path: trainers.mggan.MGGANTrainer, init_args: {groups: 2, base: {class_path: "
        "trainers.gan.GANTrainer, init_args: {packing: 2, generator: {class_path: "
        f"{POINTS}PointGenerator, init_args: {{nz: 4, widths: [8]}}}}, discriminator: {{class_path: "
        f"{POINTS}PointDiscriminator, init_args: {{widths: [8]}}}}}}}}}}}}\n"
    )
    found = discriminators(trained(tmp_path, "two", "--config", str(config)), description)
    assert [judge.name for judge in found] == ["discriminator 0", "discriminator 1"]
    images, labels = torch.randn(7, 2, 1, 1), torch.tensor([0, 1, 0, 1, 0, 1, 0])
    assert found[0].scores(images, labels).shape == (3,)
    joined, told = packs(images, labels, 2, alike=True)
    assert told.tolist() == [0, 0, 1] and torch.equal(joined[0], torch.cat([images[0], images[2]]))


def test_a_run_that_names_another_class_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path, "one", "--trainer", "trainers.gan.GANTrainer", *NETWORKS)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(f"{POINTS}PointDiscriminator", "os.system"))
    with pytest.raises(UserError, match="from outside this project"):
        discriminators(run, load_data("ring:d2gan").description)


def test_diagnose_tells_what_a_run_s_discriminator_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path, "one", "--trainer", "trainers.gan.GANTrainer", *NETWORKS)
    assert main(["diagnose", str(run), "--dataset", "ring:d2gan", "--count", "200"]) == 0
    assert "the discriminator tells generated images from test images" in capsys.readouterr().out
