"""Differentiable augmentation of what the discriminator sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.data.augment import augment
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from trainers.batch import Batch
from trainers.diff_augment import diff_augment
from trainers.gan import ConditionalGANTrainer

STRATEGY = "color_shift_cutout"


def attached(data: RealData, root: Path, **options: Any) -> ConditionalGANTrainer:
    run = RunOptions(name="gan", root=str(root), steps=4, device="cpu", seed=5)
    trainer = ConditionalGANTrainer(
        generator={"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
        discriminator={"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
        batch_size=12,
        n_dis=1,
        **options,
    )
    directory = RunDirectory(run.root, run.name)
    trainer.attach(RunContext(run, directory, torch.device("cpu"), Streams(run.seed)), data)
    return trainer


def advance(trainer: ConditionalGANTrainer, steps: int = 2) -> None:
    for _ in range(steps):
        trainer.train_step(trainer.next_batch())
        trainer.run.step += 1


def weights(trainer: ConditionalGANTrainer) -> list[Tensor]:
    return [*trainer.generator.state_dict().values(), *trainer.discriminator.state_dict().values()]


@pytest.mark.parametrize("off", [None, "none", ""])
def test_without_it_nothing_is_drawn_and_nothing_changes(tiny_data: RealData, tmp_path: Path, off: str | None) -> None:
    plain, trainer = attached(tiny_data, tmp_path), attached(tiny_data, tmp_path, diff_augment=off)
    for each in (plain, trainer):
        advance(each)
    assert all(torch.equal(one, other) for one, other in zip(weights(plain), weights(trainer), strict=True))
    assert "diff_augment" not in trainer.run.streams.state_dict()


def test_real_and_generated_images_are_augmented_alike(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny_data, tmp_path, diff_augment=STRATEGY)
    seen: list[Tensor] = []
    trainer.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    trainer.train_step(trainer.next_batch())
    assert len(seen) == 3  # real and generated for the discriminator, generated for the generator
    # Cutting out leaves grey, the fill: nearly a quarter of every image at least has it.
    assert all(((images == 0).float().mean(dim=(1, 2, 3)) > 0.05).all() for images in seen)


def test_it_is_all_of_the_operations_from_its_own_stream(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny_data, tmp_path, diff_augment=STRATEGY)
    images = torch.randn(5, 1, 8, 8)
    expected = augment(images, STRATEGY, Streams(5)["diff_augment"], mode="all")
    torch.testing.assert_close(diff_augment(trainer, images, STRATEGY), expected)


def test_two_processes_see_the_halves_of_one_batch(tiny_data: RealData, tmp_path: Path) -> None:
    images = torch.randn(6, 1, 8, 8)
    whole = diff_augment(attached(tiny_data, tmp_path), images, STRATEGY)
    halves = []
    for rank in range(2):
        trainer = attached(tiny_data, tmp_path)
        trainer.run.processes = Processes(rank, 2)
        halves.append(diff_augment(trainer, images[3 * rank : 3 * rank + 3], STRATEGY))
    torch.testing.assert_close(torch.cat(halves), whole)


def test_gradients_reach_the_generator_and_the_run_stays_what_it_was(tiny_data: RealData, tmp_path: Path) -> None:
    plain, trainer = attached(tiny_data, tmp_path), attached(tiny_data, tmp_path, diff_augment=STRATEGY)
    before = [value.clone() for value in trainer.generator.parameters()]
    for each in (plain, trainer):
        advance(each)
    assert all(not torch.equal(one, other) for one, other in zip(before, trainer.generator.parameters(), strict=True))
    for name in ("data", "noise"):  # same order, same noise: a comparison with and without is of the option alone
        assert torch.equal(plain.run.streams[name].get_state(), trainer.run.streams[name].get_state())


def test_gradient_with_respect_to_the_images(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny_data, tmp_path, diff_augment=STRATEGY)
    trainer.discriminator.double().eval()
    labels = torch.tensor([0, 1])

    def logits(images: Tensor) -> Tensor:
        trainer.run.streams["diff_augment"].manual_seed(3)
        return trainer.discriminate(Batch(images, labels)).double()

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    (gradient,) = torch.autograd.grad(logits(images).sum(), images)
    direction = torch.randn(images.shape, dtype=torch.float64, generator=generator)
    # Between the kinks of the activations, which a step of 1e-3 crosses for one draw in ten, and float32's rounding.
    step = 1e-4
    with torch.no_grad():
        slope = (logits(images + step * direction) - logits(images - step * direction)).sum() / (2 * step)
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=0.02)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(UserError, match="color"):
        ConditionalGANTrainer(diff_augment="colour_shift")
