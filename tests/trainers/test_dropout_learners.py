"""Learners with dropout where training is differentiated: the same in all memory modes, and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import teacher as teachers
from gendistill.data.description import symmetric
from gendistill.data.real import RealData
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.objects import build
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams, initialisation
from gendistill.teacher import GeneratorTeacher, save
from trainers.dataset_distillation import DatasetDistillationTrainer
from trainers.gan import ConditionalGANTrainer
from trainers.gtn import GTNTrainer
from trainers.latent_search import LatentSearchTrainer
from trainers.trainer import Trainer
from trainers.trajectory_matching import TrajectoryMatchingTrainer

MODES = ("full", "recompute", "sqrt")
EXPERTS = {"experts": 2, "expert": {"lr": 0.05, "batch_size": 48}, "student_steps": 3, "expert_epochs": 1}


class Forgetful(nn.Module):
    """A layer of dropout, and noise that is no layer."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.hidden, self.dropout = nn.Linear(math.prod(image_shape), 8), nn.Dropout(0.5)
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.dropout(self.hidden(x.flatten(1))))
        if self.training:
            hidden = F.dropout(hidden + 0.1 * torch.rand_like(hidden), 0.2)
        logits: Tensor = self.classifier(hidden)
        return logits


LEARNER = {"class_path": f"{__name__}.Forgetful"}
GENERATOR = {"class_path": "gendistill.nets.gtn.GTNGenerator", "init_args": {"nz": 8, "hidden": 16, "channels": 8}}
GAN: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 4}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 4}},
}


def gtn(root: Path, memory: str, batched: bool = False, **options: Any) -> Trainer:
    given: dict[str, Any] = {"generator": GENERATOR, "learners": LEARNER, "inner_steps": 3, "inner_batch_size": 6}
    given |= {"learning_rate": 0.1, "batch_size": 12, "meta_batch": 2, "memory": memory, "batched_learners": batched}
    return GTNTrainer(**given | options)


def distillation(root: Path, memory: str, **options: Any) -> Trainer:
    given: dict[str, Any] = {"inner_steps": 2, "inner_epochs": 2, "learner": LEARNER, "batch_size": 24}
    return DatasetDistillationTrainer(**given | {"meta_batch": 2, "memory": memory} | options)


def trajectories(root: Path, memory: str, **options: Any) -> Trainer:
    given: dict[str, Any] = {"images_per_class": 2, "learner": LEARNER, "max_start_epoch": 2, "memory": memory}
    given |= {"expert_folder": str(root / "experts"), "labels": "learned", "images": "correct", "trajectories": 2}
    return TrajectoryMatchingTrainer(**given | EXPERTS | options)


def shortcut(root: Path, memory: str) -> Trainer:
    return trajectories(root, memory, gradient="shortcut")


def gan(root: Path, memory: str) -> Trainer:
    meta = {"learners": LEARNER, "inner_steps": 3, "inner_batch_size": 6, "real_per_class": 2, "horizon": 6}
    term = {"class_path": "trainers.terms.meta_loss.MetaLoss", "init_args": meta | {"memory": memory}}
    return ConditionalGANTrainer(**GAN, batch_size=12, n_dis=1, ema_decay=0.0, terms=[term])


def generator(root: Path, data: RealData) -> str:
    path = root / "generator.safetensors"
    if not path.exists():
        sizes = {"num_classes": 3, "image_shape": (1, 8, 8), "bottom_width": 2, "nz": 6, "ngf": 4}
        with initialisation(0, "generator"):
            network = build(
                {"class_path": f"{CGANPDGenerator.__module__}.CGANPDGenerator", "init_args": sizes}, nn.Module
            )
        save(GeneratorTeacher(network, data.description.with_normalisation(symmetric(1))), path)
    return str(path)


def latents(root: Path, memory: str, objective: Any = "meta_loss") -> Trainer:
    named = str(root / "generator.safetensors")
    return LatentSearchTrainer(
        named, images_per_class=2, real_batch=6, probe=LEARNER, objective=objective, memory=memory, inner_steps=3
    )


def latent_trajectories(root: Path, memory: str) -> Trainer:
    options = EXPERTS | {"learner": LEARNER, "expert_folder": str(root / "experts"), "max_start_epoch": 2}
    path = "trainers.latent_objectives.TrajectoryMatching"
    return latents(root, memory, {"class_path": path, "init_args": options | {"memory": memory}})


METHODS: dict[str, Callable[..., Trainer]] = {
    "GTN": gtn,
    "GTN, together": lambda root, memory: gtn(root, memory, batched=True),
    "DD": distillation,
    "MTT": trajectories,
    "TESLA": shortcut,
    "GAN": gan,
    "latents": latents,
    "latents, trajectories": latent_trajectories,
}


def gradients(trainer: Trainer) -> list[Tensor]:
    values = [p for optimizer in trainer.optimizers().values() for g in optimizer.param_groups for p in g["params"]]
    found = [value.grad.clone() for value in values if value.grad is not None]
    assert found
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_the_same_in_every_mode_and_leaves_the_global_generator(
    method: str, tiny_data: RealData, tmp_path: Path
) -> None:
    generator(tmp_path, tiny_data)
    found = []
    for memory in MODES if method != "TESLA" else ("full",) * 2:
        trainer = METHODS[method](tmp_path, memory)
        chosen = RunOptions(root=str(tmp_path), steps=4, device="cpu", progress=False)
        context = RunContext(chosen, RunDirectory(tmp_path, "run"), torch.device("cpu"), Streams(0), Processes())
        trainer.attach(context, tiny_data)
        batch, before = trainer.next_batch(), torch.random.get_rng_state()
        values = [trainer.train_step(batch)]
        context.step += 1
        assert torch.equal(torch.random.get_rng_state(), before)
        found.append([*values[0].values(), *gradients(trainer)])
    assert all(value.isfinite().all() for value in found[0])
    for other in found[1:]:
        for value, expected in zip(other, found[0], strict=True):
            # Single precision; another mask would be another gradient altogether.
            assert (value - expected).abs().max() <= 1e-5 * expected.abs().max() + 1e-7


@pytest.mark.parametrize("memory", ["full", "recompute"])
@pytest.mark.parametrize("method", ["GTN", "GTN, together", "DD", "MTT"])
def test_a_power_cut_changes_nothing(method: str, memory: str, tiny_data: RealData, tmp_path: Path) -> None:
    def run(name: str, trainer: Trainer) -> None:
        train(
            trainer,
            tiny_data,
            RunOptions(name, str(tmp_path), steps=5, device="cpu", sample_every=0, progress=False, save_every=2),
        )

    run("whole", METHODS[method](tmp_path, memory))
    stops = METHODS[method](tmp_path, memory)
    kind = type(stops)

    class Stops(kind):  # type: ignore[misc, valid-type]
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            torch.rand(self.step + 1)  # what anything else draws in a run makes no difference
            if self.step == 3:
                raise RuntimeError("power cut")
            done: dict[str, Tensor] = super().train_step(batch)
            return done

    stops.__class__ = Stops
    with pytest.raises(RuntimeError, match="power cut"):
        run("halves", stops)
    run("halves", METHODS[method](tmp_path, memory))
    whole, halves = (teachers.load(tmp_path / name / "teacher.safetensors").tensors() for name in ("whole", "halves"))
    assert whole.keys() == halves.keys() and all(torch.equal(value, halves[name]) for name, value in whole.items())
