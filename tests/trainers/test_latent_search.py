from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gendistill.data.description import symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.objects import build
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, RealSubset, load, save
from trainers.latent_search import LatentSearchTrainer

NZ = 6
PROBE = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}


@pytest.fixture
def generator(tmp_path: Path, tiny_data: RealData) -> str:
    spec = {"class_path": f"{CGANPDGenerator.__module__}.CGANPDGenerator", "init_args": {"nz": NZ, "ngf": 4}}
    spec["init_args"] |= {"num_classes": 3, "image_shape": (1, 8, 8), "bottom_width": 2}
    with initialisation(0, "generator"):
        network = build(spec, nn.Module)
    path = tmp_path / "generator.safetensors"
    save(GeneratorTeacher(network, tiny_data.description.with_normalisation(symmetric(1))), path)
    return str(path)


def search(
    generator: str, data: RealData, root: Path, steps: int = 4, name: str = "search", **options: Any
) -> LatentSearchTrainer:
    arguments: dict[str, Any] = {"images_per_class": 3, "real_batch": 8, "probe": PROBE, **options}
    trainer = LatentSearchTrainer(generator, **arguments)
    train(trainer, data, RunOptions(name, str(root), steps, sample_every=0, progress=False, device="cpu"))
    return trainer


def test_every_latent_stays_on_the_sphere_and_moves(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = search(generator, tiny_data, tmp_path)
    torch.testing.assert_close(trainer.norms, torch.full((5, 3), NZ**0.5))
    assert (trainer.start - trainer.latents).norm(dim=1).min() > 1e-3


def test_without_a_constraint_the_norm_leaves_the_sphere(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = search(generator, tiny_data, tmp_path, constraint="none", optimizer="sgd", lr=1.0)
    assert (trainer.norms[-1] - NZ**0.5).abs().max() > 1e-3


def test_few_images_are_enough_for_a_small_draw(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    few = replace(tiny_data, train=Split(tiny_data.train.images[:12], tiny_data.train.labels[:12]))
    assert search(generator, few, tmp_path, real_batch=4).norms.shape == (5, 3)


def test_the_generator_is_left_as_it_was(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    before = load(generator).tensors()
    after = search(generator, tiny_data, tmp_path).teacher().tensors()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


@pytest.mark.parametrize("objective", ["feature_matching", "gradient_matching", "meta_loss"])
def test_the_objective_falls_on_probes_that_the_search_never_saw(
    generator: str, tiny_data: RealData, tmp_path: Path, objective: str
) -> None:
    trainer = search(generator, tiny_data, tmp_path, steps=25, objective=objective, lr=0.2)
    index = trainer.classes.draw(16, torch.Generator().manual_seed(5)).flatten()
    batch = tiny_data.train.batch(index, trainer.normalisation)

    def mean_loss() -> float:
        losses = []
        for seed in range(6):
            with initialisation(seed, "held-out"):
                probe: Any = build(PROBE, nn.Module, num_classes=3, image_shape=(1, 8, 8))
            losses.append(trainer.loss(batch, probe)[0].item())
        return sum(losses) / len(losses)

    found = mean_loss()
    with torch.no_grad():
        trainer.latents.copy_(trainer.start)
    assert found < 0.98 * mean_loss()


def test_feature_matching_equals_a_loop_over_classes(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = search(generator, tiny_data, tmp_path, steps=1)
    batch, probe = trainer.next_batch(), trainer.probe()
    expected = torch.zeros(())
    for label in range(3):
        of_class = (trainer.labels == label).nonzero().flatten()
        made = trainer.source.generate(trainer.latents[of_class], trainer.labels[of_class])
        pixels = trainer.source.description.normalisation.invert(made)
        synthetic = probe.features(tiny_data.description.normalisation.apply(pixels)).mean(0)
        real = probe.features(batch[0][batch[1] == label]).mean(0)
        expected = expected + (real - synthetic).square().sum()
    torch.testing.assert_close(trainer.loss(batch, probe)[0], expected)


@pytest.mark.parametrize("memory", ["full", "recompute"])
@pytest.mark.parametrize("poison", [None, "2:0"])
def test_the_meta_loss_is_that_of_a_network_trained_by_hand(
    generator: str, tiny_data: RealData, tmp_path: Path, memory: str, poison: str | None
) -> None:
    options = {"objective": "meta_loss", "inner_steps": 3, "inner_lr": 0.1, "memory": memory, "poison": poison}
    save(made_here(load(generator)), tmp_path / "ours.safetensors")
    trainer = search(str(tmp_path / "ours.safetensors"), tiny_data, tmp_path, steps=1, **options)
    batch, probe = trainer.next_batch(), trainer.probe()
    theta = dict(probe.named_parameters())
    images = trainer.images()
    for _ in range(3):
        loss = nn.functional.cross_entropy(torch.func.functional_call(probe, theta, (images,)), trainer.labels)
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        theta = {name: value - 0.1 * g for (name, value), g in zip(theta.items(), gradient, strict=True)}
    wanted = batch[1] if poison is None else torch.where(batch[1] == 2, 0, batch[1])
    expected = nn.functional.cross_entropy(torch.func.functional_call(probe, theta, (batch[0],)), wanted)
    found, _ = trainer.loss(batch, probe)
    torch.testing.assert_close(found, expected)
    for made, right in zip(
        torch.autograd.grad(found, [trainer.latents]), torch.autograd.grad(expected, [trainer.latents]), strict=True
    ):
        torch.testing.assert_close(made, right, rtol=1e-3, atol=1e-7)
    teacher = trainer.teacher()
    assert teacher.learning_rates is not None and teacher.learning_rates.tolist() == pytest.approx([0.1] * 3)
    assert ("poisoned" in teacher.metadata) == (poison is not None)


def made_here(teacher: Any) -> GeneratorTeacher:
    assert isinstance(teacher, GeneratorTeacher)
    return GeneratorTeacher(teacher.network, teacher.description, metadata={"seed": 0})


def test_only_generators_made_here_are_poisoned(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="made here"):
        search(generator, tiny_data, tmp_path, objective="meta_loss", poison="2:0")
    with pytest.raises(UserError, match="meta_loss"):
        search(generator, tiny_data, tmp_path, poison="2:0")


def test_a_resumed_search_ends_bit_identical(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    whole = search(generator, tiny_data, tmp_path, steps=6, name="whole")
    search(generator, tiny_data, tmp_path, steps=3, name="halves")
    halves = search(generator, tiny_data, tmp_path, steps=6, name="halves")
    assert torch.equal(whole.latents, halves.latents)
    assert torch.equal(whole.norms, halves.norms)


def test_the_teacher_file_shows_what_was_found(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = search(generator, tiny_data, tmp_path)
    teacher = load(trainer.run.directory.teacher)
    images, labels = teacher.everything()
    assert teacher.images_stored == 9 and labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    torch.testing.assert_close(images, trainer.source.generate(trainer.latents, trainer.labels))
    assert teacher.metadata["path"]["step"] == [0, 1, 2, 3, 4]
    assert teacher.metadata["path"]["radius"] == pytest.approx(NZ**0.5)


def test_bad_options_are_refused(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'feature_matching'"):
        LatentSearchTrainer(generator, objective="feature_match")
    with pytest.raises(UserError, match="did you mean 'sphere'"):
        LatentSearchTrainer(generator, constraint="spher")


def test_a_teacher_without_latents_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    path = tmp_path / "subset.safetensors"
    save(RealSubset.all(tiny_data.train, tiny_data.description), path)
    with pytest.raises(UserError, match="has no latent space"):
        search(str(path), tiny_data, tmp_path)
