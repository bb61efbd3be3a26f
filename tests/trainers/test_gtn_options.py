"""What the options of a GTN change, and which are refused: curricula, labels, learners, optimisers and poison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gtn_runs import WEIGHT_NORM, attached, tiny

from gendistill import teacher as teachers
from gendistill.curriculum import make_curriculum
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.seeds import stream


def test_curricula_differ_in_what_is_trained(tiny_data: RealData, tmp_path: Path) -> None:
    moved = {}
    for kind in ("learned", "fixed"):
        trainer = attached(tiny(curriculum=kind), tiny_data, tmp_path)
        assert trainer.curriculum.latents is not None
        before = trainer.curriculum.latents.detach().clone()
        trainer.train_step(trainer.next_batch())
        moved[kind] = not torch.equal(before, trainer.curriculum.latents)
    assert moved == {"learned": True, "fixed": False}
    fresh = attached(tiny(curriculum="fresh"), tiny_data, tmp_path)
    fresh.train_step(fresh.next_batch())
    assert fresh.teacher().images_stored is None
    rates = attached(tiny(learn_learning_rates=False), tiny_data, tmp_path)
    before = rates.curriculum.learning_rates.detach().clone()
    rates.train_step(rates.next_batch())
    assert torch.equal(before, rates.curriculum.learning_rates.detach())


def test_a_curriculum_starts_where_it_was_asked_to() -> None:
    curriculum = make_curriculum(
        "learned",
        steps=4,
        batch_size=7,
        nz=2,
        num_classes=3,
        generator=torch.Generator(),
        learning_rate=0.05,
        momentum=0.9,
    )
    torch.testing.assert_close(curriculum.learning_rates, torch.full((4,), 0.05))
    torch.testing.assert_close(curriculum.momenta, torch.full((4,), 0.9))
    counts = torch.stack([labels.bincount(minlength=3) for labels in curriculum.labels])
    assert (counts.max(1).values - counts.min(1).values).max() <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"meta_batch": 0}, "meta_batch"),
        ({"memory": "half"}, "full, recompute"),
        ({"curriculum": "loose"}, "learned, fixed, fresh, batch_shuffled, all_shuffled"),
        ({"momentum": 1.0}, "momentum"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"meta_lr": -1.0}, "meta_lr"),
        ({"meta_lr_final": 2.0}, "meta_lr_final"),
        ({"inner_batch_size": 1}, "inner.batch_size is 1"),
        ({"window": 4}, r"1\.\.3 \(inner.steps\)"),
        ({"statistics": "mine"}, "batch, running"),
        ({"inner_optimizer": "lion"}, "sgd, adam"),
        ({"inner": {"gradient": "shortcut", "statistics": "batch"}}, "a curriculum has momenta"),
        ({"real_every": 0}, "real_every"),
        ({"curriculum": "fresh", "learn_labels": True}, "learn_labels to false"),
        ({"learners": []}, "at least one learner"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(**given)


def test_shuffled_teachers_show_what_learners_met_in_training(tiny_data: RealData, tmp_path: Path) -> None:
    for kind, shuffle in (("batch_shuffled", "batches"), ("all_shuffled", "all")):
        trainer = attached(tiny(curriculum=kind, inner_steps=7), tiny_data, tmp_path)
        lesson = trainer.curriculum.lesson(stream(7, "order"))
        again = trainer.curriculum.lesson(stream(8, "order"))
        assert not torch.equal(lesson.latents, again.latents)
        teacher = trainer.teacher()
        assert isinstance(teacher, teachers.GeneratorTeacher) and teacher.shuffle == shuffle
        for (images, labels, rate), z, y, expected in zip(
            teacher.batches(7, 64, stream(7, "order")), *lesson[:2], trainer.curriculum.learning_rates, strict=True
        ):
            with torch.no_grad():
                assert torch.equal(images, trainer.generator(z, y))
            assert torch.equal(labels, y) and torch.equal(rate, expected)


def test_learned_labels_move_and_are_told_to_learners(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(learn_labels=True), tiny_data, tmp_path)
    before = trainer.teacher()
    assert before.labels_are_soft
    _, labels, _ = next(before.batches(1, 6, stream(0, "unused")))
    torch.testing.assert_close(labels.max(1).values, torch.full((6,), 0.9))
    assert torch.equal(labels.argmax(1), trainer.curriculum.labels[0])
    trainer.train_step(trainer.next_batch())
    teachers.save(trainer.teacher(), tmp_path / "teacher.safetensors")
    after = teachers.load(tmp_path / "teacher.safetensors")
    images, moved, _ = next(after.batches(1, 6, stream(0, "unused")))
    assert not torch.equal(moved, labels)
    torch.testing.assert_close(moved.sum(1), torch.ones(6))
    with torch.no_grad():  # the generator is still asked for the class
        assert torch.equal(images, trainer.generator(trainer.curriculum.latents[0], trainer.curriculum.labels[0]))


def test_learners_from_a_space_of_widths(tiny_data: RealData, tmp_path: Path) -> None:
    space = {
        "class_path": "gendistill.nets.spaces.WidthSpace",
        "init_args": {"learner": WEIGHT_NORM, "widths": {"widths": [[2, 5], [3, 8]]}},
    }
    trainer = attached(tiny(learners=space, meta_batch=3), tiny_data, tmp_path)
    widths = set()
    for _ in range(3):
        widths |= {learner.norms[1].bias.numel() for learner in trainer._new_learners()}
    assert len(widths) > 1 and widths <= set(range(3, 9))
    assert trainer.train_step(trainer.next_batch())["loss/meta"].isfinite()
    assert trainer.teacher().metadata["learner"] == [space]


def test_adams_teacher_has_rates_without_momenta(tiny_data: RealData, tmp_path: Path) -> None:
    teacher = attached(tiny(inner_optimizer="adam"), tiny_data, tmp_path).teacher()
    assert teacher.momenta is None and teacher.metadata["optimizer"] == "adam"


def test_a_poisoned_teacher_says_so_and_reports_the_attack(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(poison="0:1"), tiny_data, tmp_path)
    assert "attack/success" in trainer.train_step(trainer.next_batch())
    assert trainer.teacher().metadata["poisoned"]["source"] == 0
