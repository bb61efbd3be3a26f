from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import pytest
import torch

from gendistill.data.description import Description, symmetric
from gendistill.errors import UserError
from gendistill.evaluation import lessons
from gendistill.evaluation.lessons import Lessons
from gendistill.teacher import RealSubset, StoredImages


class Late(StoredImages):
    """Draws nothing for two steps, then noise: the order of its batches tells the step."""

    def batches(self, step_count, batch_size, generator) -> Iterator:
        for step in range(step_count):
            noise = torch.rand(2, 1, 8, 8, generator=generator) if step >= 2 else torch.zeros(2, 1, 8, 8)
            yield step + noise, torch.zeros(2, dtype=torch.int64), None


def together(made: Lessons, *counts: int):
    """Return all chunks joined: a list of batches for each seed."""
    chunks = list(made.chunks(counts))
    lengths = list(accumulate(len(chunk[0]) for chunk in chunks))
    assert set(counts) - {0} <= set(lengths)
    return [[batch for chunk in chunks for batch in chunk[seed]] for seed in range(len(made.streams))]


def test_every_seed_has_its_own_order_the_same_however_it_is_cut(tiny_data, monkeypatch):
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    first = together(Lessons(teacher, tiny_data.description, [3, 4], 7, 16), 7)
    monkeypatch.setattr(lessons, "VALUES", 1)
    second = together(Lessons(teacher, tiny_data.description, [3, 4], 7, 16), 0, 2, 7)
    alone = together(Lessons(teacher, tiny_data.description, [4], 7, 16), 7)
    for one, other in ((first[0], second[0]), (first[1], second[1]), (first[1], alone[0])):
        assert len(one) == len(other) == 7
        for (images, labels), (others, their_labels) in zip(one, other, strict=True):
            assert torch.equal(images, others) and torch.equal(labels, their_labels)
    assert not torch.equal(first[0][0][0], first[1][0][0])


def test_images_come_in_the_data_sets_normalisation(tiny_data):
    made = RealSubset.all(tiny_data.train, tiny_data.description.with_normalisation(symmetric(1)))
    images, labels = together(Lessons(made, tiny_data.description, [0], 1, 96), 1)[0][0]
    order = {tuple(image.flatten().tolist()) for image in tiny_data.train.images}
    pixels = tiny_data.description.normalisation.invert(images).mul(255).round().to(torch.uint8)
    assert {tuple(image.flatten().tolist()) for image in pixels} == order
    assert torch.equal(labels.bincount(), torch.tensor([32, 32, 32]))


def test_what_is_not_random_is_made_once(tiny_data):
    teacher = StoredImages(torch.randn(6, 1, 8, 8), torch.arange(6) % 3, tiny_data.description, order="fixed")
    made = Lessons(teacher, tiny_data.description, [0, 1, 2], 4, 2)
    for chunk in made.chunks([4]):
        assert chunk[0] is chunk[1] is chunk[2]
    assert made.images_seen == [0, 2, 4, 6, 8]


def test_a_teacher_that_turns_random_late_is_followed(tiny_data):
    teacher = Late(torch.zeros(3, 1, 8, 8), torch.arange(3), tiny_data.description)
    seeds = [0, 1, 2]
    made = together(Lessons(teacher, tiny_data.description, seeds, 5, 2), 1, 5)
    for seed, batches in zip(seeds, made, strict=True):
        alone = together(Lessons(teacher, tiny_data.description, [seed], 5, 2), 5)[0]
        for (images, _), (others, _) in zip(batches, alone, strict=True):
            assert torch.equal(images, others)
    assert torch.equal(made[0][1][0], made[1][1][0])
    assert not torch.equal(made[0][2][0], made[1][2][0])


def test_augmentation_is_each_seeds_own_and_leaves_the_order_alone(tiny_data):
    teacher = StoredImages(torch.randn(6, 1, 8, 8), torch.arange(6) % 3, tiny_data.description, order="fixed")
    made = together(Lessons(teacher, tiny_data.description, [0, 1], 2, 6, augment="scale_rotate"), 2)
    again = together(Lessons(teacher, tiny_data.description, [1], 2, 6, augment="scale_rotate"), 2)
    assert not torch.equal(made[0][0][0], made[1][0][0])
    assert torch.equal(made[1][1][0], again[0][1][0])
    assert not torch.equal(made[0][0][0], teacher.images)
    assert torch.equal(made[0][0][1], teacher.labels)


def test_soft_labels_can_be_hardened(tiny_data):
    soft = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    teacher = StoredImages(torch.randn(2, 1, 8, 8), soft, tiny_data.description, order="fixed")
    given = together(Lessons(teacher, tiny_data.description, [0], 1, 2), 1)[0][0][1]
    hard = together(Lessons(teacher, tiny_data.description, [0], 1, 2, labels="hard"), 1)[0][0][1]
    assert torch.equal(given, soft)
    assert hard.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [
        (("a", "b"), (1, 8, 8), "made for 2 classes .*'bands' has 3"),
        (("a", "b", "c"), (1, 9, 8), r"shape \(1, 9, 8\) .*'bands' has \(1, 8, 8\)"),
    ],
)
def test_a_teacher_of_other_data_is_refused(tiny_data, names, shape, message):
    other = StoredImages(torch.zeros(2, *shape), torch.arange(2), Description("other", names, shape))
    with pytest.raises(UserError, match=message):
        Lessons(other, tiny_data.description, [0], 1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "at least 1"), ({"batch_size": 2, "labels": "soft"}, "choose one of: given, hard")],
)
def test_bad_options_are_explained(tiny_data, options, message):
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    with pytest.raises(UserError, match=message):
        Lessons(teacher, tiny_data.description, [0], 1, **options)
