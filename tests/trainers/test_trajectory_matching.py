"""A run of trajectory matching: progress, a power cut, experts, first images, labels, its teacher, and refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from trajectory_runs import EXPERT, LEARNER, attached, options, step, tiny

from gendistill import teacher as teachers
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.loop import train
from gendistill.runs.processes import Processes
from trainers.trajectory_matching import TrajectoryMatchingTrainer


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
    pixels = attached(tiny(), tiny_data, tmp_path).samples()["distilled"].pixels
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
    typed = tiny(student_batch=7)
    typed.typed = frozenset({"inner.batch_size"})
    with pytest.raises(UserError, match="give 1 to 6"):
        attached(typed, tiny_data, tmp_path)
    lowered = tiny(student_batch=7)  # of a config: as many as there are
    attached(lowered, tiny_data, tmp_path)
    assert lowered.plan_options.batch == 6
