from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gendistill import teacher as teachers
from gendistill.data.augment import apply
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from trainers.trajectory_matching import TrajectoryMatchingTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
EXPERT = {"lr": 0.05, "batch_size": 48}


class Linear(nn.Module):
    """Logits of one linear layer without bias: the gradient of a student's step is known in closed form."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.classifier = nn.Linear(math.prod(image_shape), num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


class Forgetful(Linear):
    """A learner whose forward pass is random."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.dropout = nn.Dropout(0.5)


LINEAR = {"class_path": f"{__name__}.Linear"}


def tiny(**options: Any) -> TrajectoryMatchingTrainer:
    given: dict[str, Any] = {
        "images_per_class": 2,
        "learner": LEARNER,
        "experts": 2,
        "expert": EXPERT,
        "student_steps": 3,
        "expert_epochs": 1,
        "max_start_epoch": 2,
        "lr_images": 1.0,
        "learning_rate": 0.05,
    }
    return TrajectoryMatchingTrainer(**(given | options))


def attached(
    trainer: TrajectoryMatchingTrainer, data: RealData, tmp_path: Path, **run: Any
) -> TrajectoryMatchingTrainer:
    processes = run.pop("processes", Processes())
    context = RunContext(
        RunOptions(root=str(tmp_path), device="cpu", progress=False, **run),
        RunDirectory(tmp_path, "run"),
        torch.device("cpu"),
        Streams(0),
        processes,
    )
    trainer.attach(context, data)
    return trainer


def options(tmp_path: Path, name: str, steps: int, **more: Any) -> RunOptions:
    return RunOptions(
        name=name, root=str(tmp_path), steps=steps, device="cpu", sample_every=0, progress=False, log_every=2, **more
    )


def step(trainer: TrajectoryMatchingTrainer) -> dict[str, Tensor]:
    metrics = trainer.train_step(trainer.next_batch())
    trainer.run.step += 1
    return metrics


def test_a_linear_student_has_the_gradient_of_the_closed_form(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(learner=LINEAR, student_steps=1, images="noise"), tiny_data, tmp_path)
    lesson = attached(tiny(learner=LINEAR, student_steps=1, images="noise"), tiny_data, tmp_path).plan.draw(0)
    start, target = (
        trainer.buffer.snapshot(lesson.expert, at)["classifier.weight"] for at in (lesson.start, lesson.start + 1)
    )
    x = trainer.images.detach().flatten(1).requires_grad_()
    error = (x @ start.T).softmax(1) - F.one_hot(trainer.labels, 3)  # d CE / d logits, of each image
    reached = start - 0.05 * error.T @ x / len(x)
    loss = (reached - target).square().sum() / (start - target).square().sum()
    expected = torch.autograd.grad(loss, x)[0]
    metrics = step(trainer)
    torch.testing.assert_close(metrics["loss/matching"], loss.detach())
    assert trainer.images.grad is not None and trainer.raw_rate.grad is not None
    torch.testing.assert_close(trainer.images.grad.flatten(1), expected, rtol=1e-4, atol=1e-7)
    by_rate = (
        2 * ((reached - target) * (reached - start)).sum() / (start - target).square().sum()
    )  # d loss / d log rate
    torch.testing.assert_close(trainer.raw_rate.grad, by_rate.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "given",
    [
        {"memory": "full"},
        {"memory": "recompute", "labels": "learned", "augment": "shift_scale", "trajectories": 2},
        {"memory": "sqrt", "student_batch": 4, "augment": "shift_rotate", "augment_mode": "all", "siamese": True},
    ],
)
def test_the_gradient_is_that_of_the_whole_computation(
    tiny_data: RealData, tmp_path: Path, given: dict[str, Any]
) -> None:
    trainer, other = (attached(tiny(**given), tiny_data, tmp_path) for _ in range(2))
    total: Tensor = torch.zeros(())
    students = given.get("trajectories", 1)
    for _ in range(students):
        lesson = other.plan.draw(0)
        start, target = (trainer.buffer.snapshot(lesson.expert, lesson.start + ahead) for ahead in (0, 1))
        theta = {name: value.clone().requires_grad_() for name, value in start.items()}
        for index, how in lesson.batches:
            labels = trainer.labels[index]
            labels = labels.softmax(1) if "labels" in given else F.one_hot(labels, 3).float()
            logits = functional_call(trainer.student, theta, (apply(trainer.images[index], how),))
            loss = -(labels * logits.log_softmax(1)).sum(1).mean()
            gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            theta = {n: p - trainer.raw_rate.exp() * g for (n, p), g in zip(theta.items(), gradient, strict=True)}
        apart = sum((theta[name] - target[name]).square().sum() for name in theta)
        total = total + apart / sum((start[name] - target[name]).square().sum() for name in theta) / students
    moved = [trainer.images, trainer.raw_rate, *([trainer.labels] if "labels" in given else [])]
    expected = torch.autograd.grad(total, moved)
    metrics = step(trainer)
    torch.testing.assert_close(metrics["loss/matching"], total.detach())
    for tensor, gradient in zip(moved, expected, strict=True):
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad, gradient, rtol=1e-3, atol=1e-6)


def test_the_shortcut_is_another_gradient(tiny_data: RealData, tmp_path: Path) -> None:
    exact, short = (attached(tiny(gradient=word), tiny_data, tmp_path) for word in ("exact", "shortcut"))
    torch.testing.assert_close(step(exact)["loss/matching"], step(short)["loss/matching"])
    assert exact.images.grad is not None and short.images.grad is not None
    bias = float((exact.images.grad - short.images.grad).norm() / exact.images.grad.norm())
    assert 1e-4 < bias < 0.5


def test_a_window_differentiates_the_last_steps_only(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(window=1, student_batch=2), tiny_data, tmp_path)
    lesson = attached(tiny(window=1, student_batch=2), tiny_data, tmp_path).plan.draw(0)
    step(trainer)
    assert trainer.images.grad is not None
    touched = trainer.images.grad.flatten(1).abs().sum(1).nonzero().flatten().tolist()
    assert touched == sorted(lesson.batches[-1][0].tolist())


def test_matching_brings_students_nearer_to_the_experts(tiny_data: RealData, tmp_path: Path) -> None:
    given: dict[str, Any] = {"images": "noise", "optimizer": "adam", "lr_images": 0.1, "student_steps": 5}
    trainer = attached(tiny(**given), tiny_data, tmp_path)
    losses = [float(step(trainer)["loss/matching"]) for _ in range(60)]
    assert sum(losses[-10:]) / 10 < 0.7 * sum(losses[:10]) / 10


def test_the_students_rate_is_learned_and_stays_positive(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(lr_rate=20.0, momentum=0.0), tiny_data, tmp_path)
    step(trainer)
    rate = float(trainer.raw_rate.detach().exp())
    assert rate > 0 and abs(math.log(rate / 0.05)) > 1
    assert trainer.teacher().learning_rates is not None
    torch.testing.assert_close(trainer.teacher().learning_rates, torch.tensor([rate]))
    fixed = attached(tiny(learn_learning_rate=False), tiny_data, tmp_path)
    step(fixed)
    torch.testing.assert_close(float(fixed.raw_rate.detach().exp()), 0.05)


@pytest.mark.parametrize(
    "given",
    [
        {"labels": "learned", "augment": "shift_scale", "student_batch": 4, "ema_decay": 0.9, "trajectories": 2},
        {"first_max_start_epoch": 1, "widen_steps": 4, "optimizer": "adam", "lr_images": 0.1, "labels": "expert"},
    ],
)
def test_an_interrupted_run_ends_where_the_uninterrupted_does(
    tiny_data: RealData, tmp_path: Path, given: dict[str, Any]
) -> None:
    class Stops(TrajectoryMatchingTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 4:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    train(tiny(**given), tiny_data, options(tmp_path, "whole", 6, save_every=2))
    stops = tiny(**given)
    stops.__class__ = Stops
    with pytest.raises(RuntimeError, match="power cut"):
        train(stops, tiny_data, options(tmp_path, "halves", 6, save_every=2))
    assert train(tiny(**given), tiny_data, options(tmp_path, "halves", 6, save_every=2)).step == 6
    whole, halves = (teachers.load(tmp_path / part / "teacher.safetensors") for part in ("whole", "halves"))
    assert whole.tensors().keys() == halves.tensors().keys() == {"images", "labels", "learning_rates"}
    for part, tensor in whole.tensors().items():
        assert torch.equal(tensor, halves.tensors()[part]), part


def test_two_processes_make_the_mean_of_their_students(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "barrier", lambda self: None)
    monkeypatch.setattr(Processes, "average_gradients", lambda self, tensors: None)
    given: dict[str, Any] = {"trajectories": 2, "augment": "shift_scale", "learner": LINEAR}
    whole = attached(tiny(**given), tiny_data, tmp_path)
    halves = [attached(tiny(**given), tiny_data, tmp_path, processes=Processes(rank, 2)) for rank in (0, 1)]
    for trainer in (whole, *halves):
        step(trainer)
    gradients = [trainer.images.grad for trainer in (whole, *halves)]
    torch.testing.assert_close(gradients[0], (gradients[1] + gradients[2]) / 2)  # type: ignore[operator]
    assert not torch.allclose(gradients[1], gradients[2])  # type: ignore[arg-type]


def test_experts_are_trained_only_as_far_as_students_go(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(max_start_epoch=2, expert_epochs=3), tiny_data, tmp_path)
    assert trainer.buffer.epochs == 4
    assert torch.isfinite(trainer.buffer.snapshot(1, 4)["classifier.weight"]).all()
    with pytest.raises(UserError, match="snapshots 0 to 4"):
        trainer.buffer.snapshot(1, 5)


def test_runs_with_the_same_experts_share_them(tiny_data: RealData, tmp_path: Path) -> None:
    one = attached(tiny(), tiny_data, tmp_path, seed=0)
    other = attached(tiny(student_steps=2), tiny_data, tmp_path, seed=1)
    assert one.buffer.folder == other.buffer.folder
    elsewhere = attached(tiny(expert_folder=str(tmp_path / "mine")), tiny_data, tmp_path)
    assert elsewhere.buffer.folder == tmp_path / "mine"
    assert attached(tiny(expert=EXPERT | {"lr": 0.1}), tiny_data, tmp_path).buffer.folder != one.buffer.folder


def test_real_images_start_as_their_labels_say(tiny_data: RealData, tmp_path: Path) -> None:
    for start in ("real", "correct"):
        trainer = attached(tiny(images=start, images_per_class=3), tiny_data, tmp_path)
        real, truth = tiny_data.train.batch(torch.arange(96), trainer.normalisation)
        assert trainer.labels.tolist() == [0, 1, 2] * 3
        for image, label in zip(trainer.images.detach(), trainer.labels, strict=True):
            same = (real == image).flatten(1).all(1)
            assert truth[same].tolist() == [int(label)]


def test_correct_images_are_those_of_the_expert_that_labels_them(tiny_data: RealData, tmp_path: Path) -> None:
    # A badly trained expert, which answers nearly everything with one class.
    given = {"expert": {"lr": 0.01, "batch_size": 48}, "max_start_epoch": 2, "labels": "expert"}
    shares = {}
    for start in ("real", "correct"):
        trainer = attached(tiny(images=start, images_per_class=3, **given), tiny_data, tmp_path)
        shares[start] = float((trainer.labels.argmax(1) == torch.arange(3).repeat(3)).float().mean())
        truth = torch.arange(3).repeat(3)
        real, labels = tiny_data.train.batch(torch.arange(96), trainer.normalisation)
        for image, label in zip(trainer.images.detach(), truth, strict=True):
            assert labels[(real == image).flatten(1).all(1)].tolist() == [int(label)]
    assert shares["correct"] > shares["real"]


def test_soft_labels_are_an_experts_and_learned_ones_move(tiny_data: RealData, tmp_path: Path) -> None:
    fixed = attached(tiny(labels="expert"), tiny_data, tmp_path)
    found = fixed.labels.detach().softmax(1)
    answers = [
        functional_call(fixed.student, fixed.buffer.snapshot(expert, 2), (fixed.images,)).detach().softmax(1)
        for expert in range(2)
    ]
    assert any(torch.allclose(found, answer, atol=1e-6) for answer in answers)
    step(fixed)
    assert torch.equal(fixed.labels.detach().softmax(1), found)
    learned = attached(tiny(labels="learned"), tiny_data, tmp_path)
    torch.testing.assert_close(learned.labels.detach(), fixed.labels.detach())
    step(learned)
    taught = learned.teacher()
    assert isinstance(taught, teachers.StoredImages) and taught.labels_are_soft
    torch.testing.assert_close(taught.labels.sum(1), torch.ones(6))
    assert not torch.allclose(taught.labels, found)


def test_the_average_is_what_is_kept(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(ema_decay=0.75), tiny_data, tmp_path)
    expected = trainer.images.detach().clone()
    for _ in range(3):
        step(trainer)
        expected = 0.75 * expected + 0.25 * trainer.images.detach()
    taught = trainer.teacher()
    assert isinstance(taught, teachers.StoredImages)
    torch.testing.assert_close(taught.images, expected)
    assert not torch.allclose(taught.images, trainer.images.detach())


def test_a_run_leaves_a_teacher_that_evaluation_takes(tiny_data: RealData, tmp_path: Path) -> None:
    train(tiny(), tiny_data, options(tmp_path, "run", 2))
    taught = teachers.load(tmp_path / "run" / "teacher.safetensors")
    assert taught.images_stored == 6 and taught.label_counts == [2, 2, 2] and not taught.labels_are_soft
    rates = taught.schedules(3)
    assert rates is not None and rates[0] == [rates[0][0]] * 3 and rates[0][0] > 0  # one rate for all steps
    assert taught.metadata["student_steps"] == 3 and taught.metadata["learner"] == LEARNER


def test_pictures_are_pixels(tiny_data: RealData, tmp_path: Path) -> None:
    pixels = attached(tiny(), tiny_data, tmp_path).samples()["distilled"]
    assert pixels.shape == (6, 1, 8, 8) and pixels.min() >= 0 and pixels.max() <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images_per_class": 0}, "images_per_class"),
        ({"experts": 1.5}, "experts"),
        ({"images": "reel"}, "did you mean 'real'"),
        ({"labels": "soft"}, "hard, expert, learned"),
        ({"gradient": "tesla"}, "exact, shortcut"),
        ({"memory": "half"}, "full"),
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"learning_rate": 0.0}, "positive"),
        ({"lr_images": 0.0}, "lr_images"),
        ({"momentum": 1.0}, "momentum"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"window": 4}, "1..3"),
        ({"window": 1, "gradient": "shortcut"}, "exact"),
        ({"augment": "flop"}, "did you mean 'flip'"),
        ({"augment_mode": "al"}, "did you mean 'all'"),
        ({"min_start_epoch": 2}, "min_start_epoch"),
        ({"first_max_start_epoch": 3}, "first_max_start_epoch"),
        ({"first_max_start_epoch": 1}, "widen_steps"),
        ({"widen_steps": 5}, "widen_steps"),
        ({"expert": {"learning_rate": 0.1}}, "expert has no option 'learning_rate'"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(**given)


def test_a_run_that_does_not_fit_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="multiple of 2"):
        attached(tiny(), tiny_data, tmp_path, processes=Processes(0, 2))
    with pytest.raises(UserError, match="float32"):
        attached(tiny(), tiny_data, tmp_path, precision="bfloat16")
    with pytest.raises(UserError, match="give 1 to 6"):
        attached(tiny(student_batch=7), tiny_data, tmp_path)
    with pytest.raises(UserError, match="dropout"):
        attached(tiny(learner={"class_path": f"{__name__}.Forgetful"}), tiny_data, tmp_path)
