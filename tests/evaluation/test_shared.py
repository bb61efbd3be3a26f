"""Which of a teacher's images are real ones, in whatever form it holds them."""

from __future__ import annotations

from pathlib import Path

import torch

from gendistill.data.description import Description, Normalisation
from gendistill.data.embedding import Embedding
from gendistill.data.real import RealData, Split
from gendistill.evaluation.shared import digests, shared_images
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.export import export
from gendistill.teacher.reference import open_teacher
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.subset import RealSubset


def pairs(teacher: Teacher, data: RealData) -> list[list[int]]:
    normalisation = teacher.description.normalisation
    names = digests(teacher.everything()[0], normalisation)
    return shared_images(names, data.train, data.description.normalisation).tolist()


def some(data: RealData) -> tuple[RealSubset, list[list[int]]]:
    chosen = torch.randperm(len(data.train), generator=stream(0, "some"))[:20]
    teacher = RealSubset(data.train.images[chosen], data.train.labels[chosen], data.description)
    return teacher, [[place, int(index)] for place, index in enumerate(chosen)]


def test_real_images_are_known_as_they_are_and_as_floats(tiny_data: RealData) -> None:
    teacher, expected = some(tiny_data)
    assert pairs(teacher, tiny_data) == expected
    images, labels = teacher.everything()
    assert pairs(StoredImages(images, labels, tiny_data.description), tiny_data) == expected
    assert pairs(StoredImages(images + 0.02, labels, tiny_data.description), tiny_data) == []
    assert pairs(RealSubset.all(tiny_data.test, tiny_data.description), tiny_data) == []


def test_real_images_are_known_in_another_normalisation(tiny_data: RealData) -> None:
    teacher, expected = some(tiny_data)
    whitened = tiny_data.description.with_normalisation(tiny_data.whitening())
    images, labels = teacher.everything()
    converted = tiny_data.description.normalisation.convert(images, whitened.normalisation)
    assert pairs(StoredImages(converted, labels, whitened), tiny_data) == expected


def test_a_folder_of_the_training_images_is_known(tiny_data: RealData, tmp_path: Path) -> None:
    teacher, expected = some(tiny_data)
    export(teacher, tmp_path / "pictures", format="png")
    found = pairs(open_teacher(tmp_path / "pictures", tiny_data), tiny_data)
    assert sorted(real for _, real in found) == sorted(real for _, real in expected)


def test_an_image_that_the_real_ones_hold_twice_is_known_twice(tiny_data: RealData) -> None:
    teacher, _ = some(tiny_data)
    tiny_data.train.images[0], tiny_data.train.images[1] = teacher.images[3], teacher.images[3]
    found = [real for mine, real in pairs(teacher, tiny_data) if mine == 3]
    assert {0, 1} < set(found)


def test_sentences_are_known_by_their_words() -> None:
    generator = stream(0, "text")
    words = ("<pad>", "<unk>", *(f"word{place}" for place in range(30)))
    vectors = torch.randn(len(words), 4, generator=generator)
    vectors[0] = 0
    tokens = torch.randint(len(words), (60, 1, 6, 1), generator=generator, dtype=torch.int32)
    text = Split(tokens, torch.arange(60) % 2)
    normalisation = Normalisation.of_words(Embedding(words, vectors))
    data = RealData(Description("text", ("good", "bad"), (1, 6, 4), normalisation), text, text, text)
    teacher, expected = some(data)
    found = pairs(teacher, data)
    assert found == expected
    images, labels = teacher.everything()
    assert pairs(StoredImages(images, labels, data.description), data) == found
    assert pairs(StoredImages(images + 0.1, labels, data.description), data) == []
