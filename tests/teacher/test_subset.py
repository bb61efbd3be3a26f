from __future__ import annotations

import pytest
import torch

from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.teacher import RealSubset, StoredImages
from gendistill.teacher.subset import is_everything


def uneven(sizes: tuple[int, ...]) -> tuple[Split, Description]:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    images = torch.arange(len(labels)).view(-1, 1, 1, 1).to(torch.uint8)
    names = tuple(f"class {label}" for label in range(len(sizes)))
    return Split(images, labels), Description("uneven", names, (1, 1, 1), symmetric(1))


def test_all_shares_memory_and_is_normalised_when_shown(tiny_data: RealData, rng: torch.Generator) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    assert teacher.images.data_ptr() == tiny_data.train.images.data_ptr()
    assert teacher.bytes_stored == 96 * 64 + 96 * 8
    images, labels = teacher.everything()
    expected, _ = tiny_data.train.batch(torch.arange(96), tiny_data.description.normalisation)
    assert images.dtype == torch.float32 and torch.equal(images, expected)
    assert torch.equal(labels, tiny_data.train.labels)
    batch, batch_labels, rate = next(teacher.batches(1, 5, rng))
    assert batch.shape == (5, 1, 8, 8) and batch.dtype == torch.float32 and rate is None
    matches = (expected[:, None] == batch[None]).flatten(2).all(2).to(torch.int64)
    assert torch.equal(labels[matches.argmax(0)], batch_labels)


def test_random_images_per_class(tiny_data: RealData, rng: torch.Generator) -> None:
    teacher = RealSubset.random(tiny_data.train, tiny_data.description, images_per_class=5, generator=rng)
    assert teacher.label_counts == [5, 5, 5]
    rows = [row.tobytes() for row in tiny_data.train.images.numpy()]
    drawn = [rows.index(row.tobytes()) for row in teacher.images.numpy()]
    assert len(set(drawn)) == 15
    assert torch.equal(tiny_data.train.labels[drawn], teacher.labels)
    again = RealSubset.random(tiny_data.train, tiny_data.description, images_per_class=5, generator=rng)
    assert not torch.equal(again.images, teacher.images)


@pytest.mark.parametrize(
    ("count", "shares"),
    [(3, [1, 1, 1]), (9, [3, 3, 3]), (10, None), (20, [9, 3, 8]), (23, [12, 3, 8]), (1, None), (4, None)],
)
def test_count_is_shared_evenly_and_small_classes_give_all(
    count: int, shares: list[int] | None, rng: torch.Generator
) -> None:
    split, description = uneven((12, 3, 8))
    found = RealSubset.random(split, description, count=count, generator=rng).label_counts
    assert sum(found) == count
    if shares is not None:
        assert found in (shares, [8, 3, 9]) if count == 20 else found == shares
    else:
        assert max(found) - min(min(found), 3) <= 1


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ({}, "either"),
        ({"count": 3, "images_per_class": 1}, "either"),
        ({"count": 0}, r"1\.\.23"),
        ({"count": 24}, r"1\.\.23.*got 24"),
        ({"images_per_class": 4}, r"1\.\.3.*got 4"),
        ({"images_per_class": 0}, r"1\.\.3"),
    ],
)
def test_impossible_sizes_are_refused(size: dict[str, int], sentence: str, rng: torch.Generator) -> None:
    split, description = uneven((12, 3, 8))
    with pytest.raises(UserError, match=sentence):
        RealSubset.random(split, description, generator=rng, **size)  # type: ignore[arg-type]


def test_everything_is_known_by_its_images(tiny_data: RealData, rng: torch.Generator) -> None:
    train, description = tiny_data.train, tiny_data.description
    assert is_everything(RealSubset.all(train, description), train)
    shuffled = RealSubset.random(train, description, generator=rng, count=len(train))
    assert not torch.equal(shuffled.labels, train.labels) and is_everything(shuffled, train)
    assert not is_everything(RealSubset.random(train, description, generator=rng, count=len(train) - 1), train)
    # As many images, but one of them twice; the same images under other labels.
    index = torch.arange(len(train))
    index[1] = 0
    assert not is_everything(RealSubset(train.images[index], train.labels[index], description), train)
    labels = train.labels.roll(1)
    assert not is_everything(RealSubset(train.images, labels, description), train)
    # Read back from an export; then other images, and rates beside them, which make it another teacher.
    normalised = description.normalisation.apply(train.images)
    for images in (normalised, normalised.half().float()):
        assert is_everything(StoredImages(images.flip(0), train.labels.flip(0), description), train)
    noisy = normalised + 0.4 / 255 / description.normalisation.std[0]
    for images in (noisy, normalised.roll(1, 0)):
        assert not is_everything(StoredImages(images, train.labels, description), train)
    rated = StoredImages(normalised, train.labels, description, learning_rates=torch.tensor([0.1]))
    assert not is_everything(rated, train)
