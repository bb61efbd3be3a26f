"""Which images of a teacher are looked at, and at which number several teachers can be compared."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation import draws
from gendistill.evaluation.draws import common_count, default_count, pool
from gendistill.evaluation.extractors import Extractor
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.draw import draw_once, even_shares
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.subset import RealSubset


class Rows(Extractor):
    name = "rows"

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return normalisation.invert(images).mean((1, 3))


def uneven(counts: list[int], soft: bool = False) -> StoredImages:
    """As many different images of each class as ``counts`` says, in order of the classes."""
    classes = tuple(map(str, range(len(counts))))
    description = Description("uneven", classes, (1, 8, 8), Normalisation((0.0,), (1.0,)))
    labels = torch.repeat_interleave(torch.tensor(counts))
    images = torch.rand(len(labels), 1, 8, 8, generator=stream(0, "images"))
    if soft:
        return StoredImages(images, torch.nn.functional.one_hot(labels, len(counts)) * 0.8 + 0.05, description)
    return StoredImages(images, labels, description)


class Endless(StoredImages):
    """The same images, drawn anew with repetition."""

    @property
    def images_stored(self) -> None:  # type: ignore[override]
        return None


def test_the_common_count_is_that_of_the_smallest_set(tiny_data: RealData) -> None:
    def subset(count: int) -> Teacher:
        return RealSubset.random(tiny_data.train, tiny_data.description, generator=stream(0, "s"), count=count)

    endless = Endless(*uneven([20, 20, 20]).everything(), tiny_data.description)
    assert common_count([endless], tiny_data) == default_count(tiny_data) == 96
    assert common_count([], tiny_data) == 96
    assert common_count([endless, subset(30), subset(9)], tiny_data) == 9
    assert common_count([subset(1), subset(30)], tiny_data) == 2
    assert common_count([subset(96), endless], tiny_data) == 96


def test_no_more_than_the_limit(tiny_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "LIMIT", 50)
    assert common_count([RealSubset.all(tiny_data.train, tiny_data.description)], tiny_data) == 50


@pytest.mark.parametrize("soft", [False, True])
def test_draws_are_even_without_repetition_and_have_streams_of_their_own(soft: bool) -> None:
    teacher = uneven([40, 40, 3], soft)
    seen = pool(teacher, Rows(), 30, 4, 0)
    assert seen.features.shape == (83, 8) and len(seen.digests) == 83 and seen.count == 30
    for index in seen.draws:
        assert len(index.unique()) == 30
        counts = torch.bincount(seen.classes[index], minlength=3).tolist()
        assert counts[2] == 3 and sorted(counts[:2]) == [13, 14]
    assert len({tuple(index.tolist()) for index in seen.draws}) == 4
    fewer = pool(teacher, Rows(), 30, 2, 0)
    assert all(torch.equal(a, b) for a, b in zip(fewer.draws, seen.draws, strict=False))
    assert not torch.equal(pool(teacher, Rows(), 30, 1, 1).draws[0], seen.draws[0])
    whole = pool(teacher, Rows(), 83, 4, 0)
    assert [index.tolist() for index in whole.draws] == [list(range(83))]


def test_a_large_set_is_seen_in_part_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "LIMIT", 20)
    seen = pool(uneven([40, 40, 3]), Rows(), 10, 3, 0)
    assert len(set(seen.digests)) == 20 and torch.bincount(seen.classes)[2] == 3
    assert len(seen.draws) == 3 and seen.count == 10
    assert len(pool(uneven([40, 40, 3]), Rows(), 50, 3, 0).classes) == 50


def test_images_without_end_are_new_for_every_draw() -> None:
    endless = Endless(*uneven([500, 500]).everything(), uneven([1, 1]).description)
    seen = pool(endless, Rows(), 7, 3, 0)
    assert [index.tolist() for index in seen.draws] == [[*range(7)], [*range(7, 14)], [*range(14, 21)]]
    assert len(set(seen.digests)) > 18  # of 1,000, with repetition


def test_no_draw_and_no_image_are_refused() -> None:
    for count, number in ((0, 1), (1, 0)):
        with pytest.raises(UserError, match="count must be at least 1 image and draws at least 1"):
            pool(uneven([2, 2]), Rows(), count, number, 0)


def test_shares_are_even_as_far_as_classes_allow(rng: torch.Generator) -> None:
    assert even_shares(10, [5, 1, 20, 0], rng) in ([5, 1, 4, 0], [4, 1, 5, 0])
    assert even_shares(26, [5, 1, 20, 0], rng) == [5, 1, 20, 0]
    assert even_shares(0, [5, 1], rng) == [0, 0]
    labels = torch.tensor([0] * 5 + [2] * 20 + [1])
    assert sorted(draw_once(labels, 4, 26, rng).tolist()) == list(range(26))


@pytest.fixture
def rng() -> torch.Generator:
    return stream(0, "test")
