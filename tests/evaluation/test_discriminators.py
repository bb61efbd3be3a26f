"""What a run's discriminators say of images: found in the run's files, packed as they were, and read as areas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score

from gendistill.cli import main
from gendistill.data import load as load_data
from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.audit import ATTACKS, audit
from gendistill.evaluation.discriminators import packs, scorers
from gendistill.evaluation.symptoms import auc, auc_error, of_discriminator
from gendistill.objects import build
from gendistill.runs.checkpoint import load_state
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.discriminators import discriminators
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from gendistill.teacher import load
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}
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
    for made, known, word in ((-1.0, 0.0, "has won"), (1.0, 0.0, "takes generated"), (-0.2, 0.3, "remembers")):
        found = of_discriminator("discriminator", {"control": real, "train": real + known, "made": real + made})[0]
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


def gan_spec(**options: Any) -> dict[str, Any]:
    networks: dict[str, Any] = {
        "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
        "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
    }
    arguments = networks | {"batch_size": 16, "n_dis": 2, "lr_discriminator": 2e-3} | options
    return {"class_path": "trainers.gan.ConditionalGANTrainer", "init_args": arguments}


def gan_of_noise(root: Path, **options: Any) -> tuple[Path, RealData]:
    """Train a GAN on images of nothing, and return its run and the data."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(0, 256, (count, 1, 16, 16), generator=generator).to(torch.uint8)
        return Split(images, torch.arange(count) % 2)

    data = RealData(Description("noise", ("a", "b"), (1, 16, 16), symmetric(1)), split(32), split(60), split(60))
    spec = gan_spec(**options)
    quiet: dict[str, Any] = {"root": str(root), "name": "gan", "steps": 4, "device": "cpu", "progress": False}
    train(
        build(spec, ConditionalGANTrainer),
        data,
        RunOptions(**quiet, sample_every=0, tune="off"),
        config={"trainer": spec},
    )
    return root / "gan", data


def test_attacks_by_a_discriminator_are_what_it_says_and_sends_back(tmp_path: Path) -> None:
    run, data = gan_of_noise(tmp_path)
    judges = discriminators(run, data.description)
    assert [(judge.name, judge.loss_type) for judge in judges] == [("discriminator", "hinge")]
    attacks = scorers(judges, symmetric(1), at_once=20)
    trainer, options = build(gan_spec(), ConditionalGANTrainer), RunOptions(root=str(tmp_path / "again"), name="gan")
    trainer.attach(RunContext(options, RunDirectory(options.root, "gan"), torch.device("cpu"), Streams(0)), data)
    state = load_state(RunDirectory(tmp_path, "gan"), torch.device("cpu"))
    assert state is not None
    trainer.load_state_dict(state["trainer"])
    trainer.discriminator.eval()
    images, labels = data.train.batch(torch.arange(32), symmetric(1))
    leaf = images.requires_grad_()
    logits = trainer.discriminate(Batch(leaf, labels))
    torch.testing.assert_close(attacks["discriminator"](data.train), logits.detach().flatten().double())
    (gradient,) = torch.autograd.grad(trainer.adversarial_loss(logits) * 32, leaf)
    feedback = -gradient.flatten(1).norm(dim=1).double()
    torch.testing.assert_close(attacks["feedback"](data.train), feedback)  # whatever part an image is in
    left = scorers(judges, symmetric(1), leaves=lambda values: values * 0)["feedback"](data.train)
    assert not left.any()
    found, _ = audit(load(run / "teacher.safetensors"), data, learner=LEARNER, learners=1, updates=2, scorers=attacks)
    members = attacks["discriminator"](data.train)
    outside = torch.cat([attacks["discriminator"](data.validation), attacks["discriminator"](data.test)])
    assert found["others"] == 80 and len(outside) == 120  # a third is the attacker's reference
    assert set(members.tolist()).isdisjoint(outside.tolist())
    assert found["attacks"]["discriminator"]["auc"] == pytest.approx(float(auc(members, outside)), abs=0.15)
    assert found["attacks"]["discriminator"]["looks_at"] == ATTACKS["discriminator"]


def test_packs_of_one_image_are_asked_about_it(tmp_path: Path) -> None:
    run, data = gan_of_noise(tmp_path, packing=2)
    (judge,) = discriminators(run, data.description)
    images, labels = data.test.batch(torch.arange(6), symmetric(1))
    with torch.no_grad():
        wanted = judge.network(torch.cat([images, images], 1), labels).flatten().double()
        torch.testing.assert_close(judge.of_each(images, labels).double(), wanted)


def test_the_command_asks_a_run_s_discriminator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "configs/quickstart/gan.yaml", "--scale", "smoke", "--run.root", str(tmp_path)]
    assert main(["train", *words, "--run.name", "gan", "--run.steps", "2", "--run.sample_every", "0"]) == 0
    capsys.readouterr()
    command = [
        "audit",
        str(tmp_path / "gan"),
        "--dataset",
        "digits",
        "--learners",
        "1",
        "--updates",
        "2",
        "--count",
        "80",
    ]
    assert main([*command, "--discriminator", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["attacks"]
    assert {"discriminator", "feedback"} <= found.keys() and 0.3 < found["discriminator"]["auc"] < 0.7
    assert main(["audit", str(tmp_path / "gan" / "teacher.safetensors"), "--dataset", "digits", "--discriminator"]) == 2
    assert "no directory of a GAN's run" in capsys.readouterr().err
