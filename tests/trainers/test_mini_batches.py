"""Distilled images in mini-batches and augmented: drawn as published, differentiated exactly, resumed to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from gendistill import teacher as teachers
from gendistill.data.augment import apply
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.rates import made_for_optimizer
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.dataset_distillation import DatasetDistillationTrainer, NormAverage
from trainers.mini_batches import MiniBatches, ShowingOptions

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
RAT: dict[str, Any] = {
    "inner": {"steps": 5, "epochs": 1, "batch_size": 6, "window": 2, "optimizer": "adam"},
    "images_per_class": 4,
    "learner": LEARNER,
    "learning_rate": 0.01,
    "learn_learning_rates": False,
    "augment": "shift_rotate",
    "augment_real": "shift_scale",
    "batch_size": 12,
    "meta_lr": 0.05,
}


def showings(batch_size: int | None, per_class: int = 4, sets: int = 1, augment: str | None = None) -> MiniBatches:
    from gendistill.data.description import Description, Normalisation

    description = Description("bands", ("top", "middle", "bottom"), (1, 8, 8), Normalisation((0.3,), (0.3,)))
    options = ShowingOptions(sets, per_class, batch_size, augment, None, "single")
    return MiniBatches(options, description, 0, torch.device("cpu"))


def attached(data: RealData, root: Path, **options: Any) -> DatasetDistillationTrainer:
    trainer = DatasetDistillationTrainer(**RAT | options)
    chosen = RunOptions(root=str(root), steps=4, device="cpu", progress=False)
    trainer.attach(RunContext(chosen, RunDirectory(root, "run"), torch.device("cpu"), Streams(0)), data)
    return trainer


def test_every_step_shows_as_many_of_each_class_drawn_anew() -> None:
    steps = [index for index, _ in showings(6).draw(300)]
    for index in steps:
        assert torch.bincount(index % 3).tolist() == [2, 2, 2] and len(index.unique()) == 6
    seen = torch.bincount(torch.cat(steps), minlength=12).float() / 300
    assert (seen - 0.5).abs().max() < 0.12  # two of four, each as likely
    assert not all(torch.equal(steps[0], index) for index in steps)


def test_without_a_batch_every_step_shows_its_own_set() -> None:
    index = [index.tolist() for index, _ in showings(None, per_class=1, sets=2, augment="flip").draw(3)]
    assert index == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]


@pytest.mark.parametrize("size", [7, 15, 2])
def test_a_batch_that_cannot_be_balanced_is_refused(size: int) -> None:
    with pytest.raises(UserError, match="multiple of the 3 classes up to 12"):
        showings(size)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"inner": {"steps": 3, "epochs": 2}, "images_per_class": 1, "learn_labels": True, "augment_real": None},
        {"inner": {"steps": 4, "epochs": 1, "batch_size": 6, "memory": "recompute"}, "learn_learning_rates": True},
    ],
)
def test_the_gradient_is_that_of_the_whole_computation(
    given: dict[str, Any], tiny_data: RealData, tmp_path: Path
) -> None:
    trainer, other = (attached(tiny_data, tmp_path, **given) for _ in range(2))
    images, labels = batch = trainer.next_batch()
    assert other.batches is not None
    real = apply(images, other.batches.draw_real(len(images))) if other.showing.augment_real else images
    end = other.inner.end(lambda: other.run.streams["window"])
    ((learner, _),) = other.learners.draw(other, other.pool)
    theta = {name: value.detach().clone().requires_grad_() for name, value in learner.named_parameters()}
    first, second = ({name: torch.zeros_like(value) for name, value in theta.items()} for _ in range(2))
    adam, stored = other.options.optimizer == "adam", other.images.flatten(0, 1)
    for step, (index, how) in enumerate(other.batches.draw(end)):
        if step == other.inner.first(end):
            theta, first, second = (
                {name: value.detach().requires_grad_() for name, value in part.items()}
                for part in (theta, first, second)
            )
        told = other.labels.flatten(0, 1)[index]
        loss = F.cross_entropy(functional_call(learner, theta, (apply(stored[index], how),)), told)
        gradient = dict(zip(theta, torch.autograd.grad(loss, list(theta.values()), create_graph=True), strict=True))
        rate, moved = other.learning_rates[step], gradient
        if adam:
            first = {n: 0.9 * first[n] + 0.1 * g for n, g in gradient.items()}
            second = {n: 0.999 * second[n] + 0.001 * g * g for n, g in gradient.items()}
            t = step + 1
            moved = {
                n: first[n] / (1 - 0.9**t) / ((second[n] / (1 - 0.999**t) + 1e-22).sqrt() + 1e-8) for n in gradient
            }
        theta = {n: theta[n] - rate * moved[n] for n in theta}
    loss = F.cross_entropy(functional_call(learner, theta, (real,)), labels)
    learned = isinstance(other.labels, torch.nn.Parameter)
    wanted: list[Tensor] = [other.images, *([other.labels] if learned else [])]
    expected = torch.autograd.grad(loss, wanted)
    values = trainer.train_step(batch)
    torch.testing.assert_close(values["loss/meta"], loss.detach(), rtol=1e-3, atol=1e-4)
    for value, gradient in zip([trainer.images, *([trainer.labels] if learned else [])], expected, strict=True):
        assert value.grad is not None and (value.grad - gradient).norm() < 0.02 * gradient.norm()


def test_all_images_at_every_step_are_one_batch_shown_again_and_again(tiny_data: RealData, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"augment": None, "augment_real": None, "images_per_class": 2}
    mini = attached(tiny_data, tmp_path, inner={"steps": 4, "epochs": 1, "batch_size": 6}, **plain)
    epochs = attached(tiny_data, tmp_path, inner={"steps": 1, "epochs": 4}, **plain)
    for trainer in (mini, epochs):
        trainer.train_step(trainer.next_batch())
    assert mini.images.grad is not None and epochs.images.grad is not None
    torch.testing.assert_close(mini.images.grad, epochs.images.grad)


def test_the_teacher_says_how_its_images_are_shown(tiny_data: RealData, tmp_path: Path) -> None:
    teacher: Any = attached(tiny_data, tmp_path).teacher()
    assert (teacher.order, teacher.batch_size, teacher.images_stored) == ("stratified", 6, 12)
    assert teacher.learning_rates.tolist() == pytest.approx([0.01]) and made_for_optimizer(teacher) == "adam"


def test_a_run_that_was_cut_goes_on_to_the_bit(tiny_data: RealData, tmp_path: Path) -> None:
    def run(name: str, steps: int) -> None:
        options = RunOptions(name, str(tmp_path), steps, device="cpu", sample_every=0, progress=False, save_every=1)
        train(DatasetDistillationTrainer(**RAT, average_clip=0.5), tiny_data, options)

    run("whole", 4)
    run("halves", 2)
    run("halves", 4)
    whole, halves = (teachers.load(tmp_path / name / "teacher.safetensors").tensors() for name in ("whole", "halves"))
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())


def test_gradients_are_clipped_to_what_norms_were_on_average() -> None:
    norms, value = NormAverage(torch.device("cpu")), torch.zeros(2)
    average = None
    for size in (1.0, 1.0, 10.0, 0.5):
        value.grad = torch.tensor([0.6, 0.8]) * size
        average = size if average is None else 0.9 * average + 0.1 * size
        norms.clip([value], value.grad.norm(), 2.0)
        assert float(value.grad.norm()) == pytest.approx(min(size, 2 * average), rel=1e-4)
