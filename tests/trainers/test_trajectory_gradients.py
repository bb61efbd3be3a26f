"""Trajectory matching's gradients against a closed form and the whole computation, exact, windowed and shortened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from trajectory_runs import LINEAR, attached, step, tiny

from gendistill.data.augment import apply
from gendistill.data.real import RealData
from gendistill.runs.processes import Processes


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
