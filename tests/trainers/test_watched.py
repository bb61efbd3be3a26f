"""What each method has watched: rates that fall to 0, images that never move, a discriminator that is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.cli import main
from gendistill.data.real import RealData
from gendistill.runs.context import RunContext
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.watch import Watch
from gendistill.teacher import load
from trainers.batch_condensation import BatchCondensationTrainer
from trainers.dataset_distillation import DatasetDistillationTrainer
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.gtn import GTNTrainer
from trainers.latent_search import LatentSearchTrainer

MLP = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8}}
MTT = Path(__file__).parents[2] / "configs" / "mtt" / "digits.yaml"
SMALL: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
    "batch_size": 12,
    "n_dis": 1,
}


def go(trainer: Any, data: RealData, root: Path, name: str = "run", **more: Any) -> RunContext:
    settings: dict[str, Any] = {"steps": 6, "log_every": 2, "device": "cpu", "sample_every": 0, "progress": False}
    return train(trainer, data, RunOptions(name=name, root=str(root), **settings | more))


def test_a_learned_rate_that_underflows_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(MTT), "--scale", "smoke", "--trainer.lr_rate", "100", "--run.steps", "6"]
    words += ["--run.root", str(tmp_path), "--run.device", "cpu", "--run.progress", "false"]
    assert main(words) == 1
    said = capsys.readouterr().err
    rate = (
        "the learned learning rate is 0, so that learners that use it do not move; choose a smaller --trainer.lr_rate"
    )
    assert said.count(f"warning at step 1: {rate}") == 1 and said.count(f"at the end: {rate}") == 1
    assert f"error: the teacher is of no use: {rate}" in said
    assert "warning at step 6: the images' gradient is exactly 0" in said
    run = tmp_path / "mtt" / "digits-smoke"
    assert f"at the end: {rate}" in (run / "log.txt").read_text()
    assert load(run / "teacher.safetensors").metadata["warnings"][0] == rate
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["warnings"][0] == rate
    judged = ["evaluate", str(run), "--updates", "5", "--seeds", "2", "--no-fidelity"]
    assert main([*judged, "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert notes[0] == f"of the teacher: {rate}"
    assert notes[-1].startswith("after 5 updates accuracy is at chance: balanced over the classes ")
    assert main(judged) == 0
    assert f"note: of the teacher: {rate}" in capsys.readouterr().out
    exported = tmp_path / "exported"
    assert main(["export", str(run), "--format", "png", "--output", str(exported)]) == 0
    assert "| **warning** | the learned learning rate is 0" in (exported / "README.md").read_text()


def test_the_same_config_with_its_own_rate_is_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(MTT), "--scale", "smoke", "--run.steps", "6", "--run.root", str(tmp_path)]
    assert main([*words, "--run.device", "cpu", "--run.progress", "false"]) == 0
    assert capsys.readouterr().err == ""


def at_fault(trainer: Any) -> str:
    watch = Watch(0.1)
    watch.look(1, {}, trainer.watched(), last=False)
    return watch.found["rates"] if watch.useless else ""


def test_the_rates_of_distillation_and_of_a_gtn(tiny_data: RealData, tmp_path: Path) -> None:
    distilled = DatasetDistillationTrainer(inner_steps=1, inner_epochs=2, learner=MLP, batch_size=24)
    generator = {"class_path": "gendistill.nets.gtn.GTNGenerator", "init_args": {"nz": 4, "hidden": 8}}
    made = {"inner_steps": 2, "inner_batch_size": 6, "batch_size": 24}
    generated = GTNTrainer(generator=generator, learners=MLP, **made)  # type: ignore[arg-type]
    for name, trainer in (("distilled", distilled), ("generated", generated)):
        context = go(trainer, tiny_data, tmp_path, name)
        assert context.useless is None and not any("rate" in one or "moved" in one for one in context.warnings)
        assert at_fault(trainer) == ""
    with torch.no_grad():
        distilled.raw_rates.fill_(-200.0)  # of softplus
        for schedule in generated.curriculum.schedules()[:1]:
            schedule.fill_(-200.0)  # of exp
    assert at_fault(distilled).endswith("choose a smaller --trainer.meta_lr")
    assert at_fault(generated).endswith("choose a smaller --trainer.schedule_lr")


@pytest.mark.parametrize("lr", [1e-30, 0.1])
def test_images_that_never_move(lr: float, tiny_data: RealData, tmp_path: Path) -> None:
    found = go(
        DistributionMatchingTrainer(lr_images=lr, images_per_class=2, real_batch=8, learner=MLP), tiny_data, tmp_path
    )
    never = "the images never moved: they are still what the run started from"
    assert found.warnings == ([never] if lr < 1e-9 else []) and found.useless is None


def test_condensed_batches_and_latents(tiny_data: RealData, tmp_path: Path) -> None:
    condensed: dict[str, Any] = {"batch_size": 8, "condensed_size": 4, "num_batches": 2, "probes": [{"learner": MLP}]}
    stays = BatchCondensationTrainer(lr=1e-30, **condensed)
    assert go(stays, tiny_data, tmp_path, "a").warnings == [
        "the condensed batches never moved: they are still what the run started from"
    ]
    assert go(BatchCondensationTrainer(optimise=False, **condensed), tiny_data, tmp_path, "b").warnings == []
    go(ConditionalGANTrainer(**SMALL), tiny_data, tmp_path, "gan", steps=1)
    searched: dict[str, Any] = {"images_per_class": 2, "real_batch": 4, "probe": MLP, "film_frames": 0}
    for name, lr in (("c", 1e-30), ("d", 0.1)):
        found = go(LatentSearchTrainer(str(tmp_path / "gan"), lr=lr, **searched), tiny_data, tmp_path, name)
        assert bool(found.warnings) == (lr < 1e-9)


@pytest.mark.parametrize(("loss_type", "value"), [("hinge", 5e-4), ("ns", 5e-4), ("wasserstein", 1e-12)])
def test_a_discriminator_that_is_done(loss_type: str, value: float, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = GANTrainer(
        generator={"class_path": "gendistill.nets.sngan.SNGANGenerator", "init_args": {"nz": 4, "ngf": 4}},
        discriminator={"class_path": "gendistill.nets.sngan.SNGANDiscriminator", "init_args": {"ndf": 4}},
        loss_type=loss_type,
        batch_size=8,
        n_dis=1,
    )
    assert go(trainer, tiny_data, tmp_path).warnings == []
    watch = Watch(0.1)
    watch.begin(0, trainer.watched())
    with torch.no_grad():
        next(trainer.generator.parameters()).add_(1.0)
    found = watch.look(5, {"loss/discriminator": value}, trainer.watched(), last=False)
    assert found and "--trainer.lr_discriminator" in found[0]
    with torch.no_grad():
        next(trainer.generator.parameters()).add_(1.0)
    assert watch.look(10, {"loss/discriminator": 0.3}, trainer.watched(), last=False) == [] == watch.sentences
