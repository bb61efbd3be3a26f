from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gendistill.data.augment import apply, draw_parameters
from gendistill.errors import UserError
from gendistill.evaluation.epochs import Epoch, measuring_points, one_epoch, with_images
from gendistill.evaluation.learning import learning_curve
from gendistill.seeds import stream
from gendistill.teacher import GeneratorTeacher, RealSubset, StoredImages


class Bands(torch.nn.Module):
    """Images that are their class plus a little noise."""

    nz = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, z, y):
        return y.view(-1, 1, 1, 1) + 0.01 * z.mean(1).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


@pytest.fixture
def endless(tiny_data) -> GeneratorTeacher:
    return GeneratorTeacher(Bands(), tiny_data.description)


def test_what_an_epoch_is(tiny_data, endless) -> None:
    assert one_epoch(RealSubset.all(tiny_data.train, tiny_data.description), 40, 96) == Epoch(96, 3)
    assert one_epoch(endless, 32, 96) == Epoch(96, 3)
    assert one_epoch(endless, 32, 97) == Epoch(97, 4)
    lessons = GeneratorTeacher(Bands(), tiny_data.description, latents=torch.randn(7, 5, 4))
    assert one_epoch(lessons, 64, 96) == Epoch(35, 7)
    few = StoredImages(torch.zeros(10, 1, 8, 8), torch.arange(10) % 3, tiny_data.description)
    assert one_epoch(few, 256, 96) == Epoch(10, 1)


@pytest.mark.parametrize("count", [3, 600, 601])
def test_generated_images_are_drawn_once_in_equal_shares(tiny_data, endless, count) -> None:
    pool = with_images(endless, count, 96)
    images, labels = pool.everything()
    shares = labels.bincount(minlength=3)
    assert pool.images_stored == count and shares.max() - shares.min() <= 1
    assert torch.equal(images, with_images(endless, count, 96).everything()[0])
    assert torch.equal(images.mean((1, 2, 3)).round().long(), labels)


def test_other_teachers_and_fresh_images_stay_as_they_are(tiny_data, endless) -> None:
    stored = RealSubset.all(tiny_data.train, tiny_data.description)
    assert with_images(stored, 10, 96) is stored
    assert with_images(endless, "fresh", 96) is endless
    assert with_images(endless, "train", 96).images_stored == 96


def test_measuring_points() -> None:
    assert measuring_points([0, 5, 100], Epoch(50, 7), 3, 1) == [0, 5, 7, 14, 21]
    assert measuring_points([], Epoch(50, 7), 5, 2) == [14, 28, 35]
    assert measuring_points([], Epoch(50, 7), 5, 0) == [35]


def test_a_curve_by_epochs_is_the_curve_of_as_many_updates(tiny_data) -> None:
    real = RealSubset.all(tiny_data.train, tiny_data.description)
    options = {
        "learner": "gendistill.nets.learners.MLP",
        "batch_size": 48,
        "seeds": 2,
        "lr": 0.05,
        "schedule": "cosine",
    }
    by_epochs = learning_curve(real, tiny_data, epochs=3, updates=(), **options)
    by_updates = learning_curve(real, tiny_data, updates=(2, 4, 6), **options)
    assert by_epochs["updates"] == [2, 4, 6]
    assert by_epochs["accuracy"] == by_updates["accuracy"]
    assert by_epochs["epochs"] == 3 and by_updates["epochs"] is None


def test_an_epoch_of_a_fixed_pool_shows_every_image_once(tiny_data, endless) -> None:
    pool = with_images(endless, 60, 96)
    seen = torch.cat([images for images, _, _ in pool.batches(3, 20, stream(0, "x"))])
    assert sorted(seen.mean((1, 2, 3)).tolist()) == sorted(pool.everything()[0].mean((1, 2, 3)).tolist())


def test_the_crop_is_padding_by_four_and_a_random_cut() -> None:
    images = torch.randn(64, 3, 32, 32, generator=stream(1, "images"))
    parameters = draw_parameters("crop", 64, (3, 32, 32), stream(0, "crop"), mode="all")
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    ((_, offsets),) = parameters.steps
    assert offsets.min() == -4 and offsets.max() == 4
    cut = torch.stack(
        [one[:, 4 + y : 36 + y, 4 + x : 36 + x] for one, (y, x) in zip(padded, offsets.tolist(), strict=True)]
    )
    assert torch.equal(apply(images, parameters), cut)


def test_every_name_of_a_strategy_or_one(tiny_data) -> None:
    def batches(mode: str) -> Iterator[torch.Tensor]:
        from gendistill.evaluation.lessons import Lessons

        teacher = StoredImages(torch.randn(6, 1, 8, 8), torch.arange(6) % 3, tiny_data.description, order="fixed")
        made = Lessons(teacher, tiny_data.description, [0], 8, 6, augment="crop_brightness", augment_mode=mode)
        for chunk in made.chunks([8]):
            for images, _ in chunk[0]:
                yield images - teacher.images

    def brightened(difference: torch.Tensor) -> bool:
        middle = difference[:, :, 3:5, 3:5].flatten(1)
        return bool((middle.std(1) < 1e-5).all() and (middle.abs() > 1e-6).any())

    # A shift changes pixels one by one, a brightness all alike: with both, no batch is merely brightened.
    assert any(brightened(one) for one in batches("single"))
    assert not any(brightened(one) for one in batches("all"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1, "measure_every": -1}, "measure_every is -1"),
        ({"generated": "all"}, "'train' for as many"),
        ({"generated": 0}, "generated is 0"),
        ({"augment_mode": "both", "augment": "crop"}, "single, each, all, idc"),
        ({"cutmix": 1.5}, "cutmix is 1.5; it is a probability"),
        ({"cutmix": -0.1}, "cutmix is -0.1; it is a probability"),
        ({"cutmix": float("nan")}, "cutmix is nan; give numbers that are finite"),
        ({"optimizer": "adamv"}, "adamw"),
        ({"schedule": "halvin"}, "did you mean 'halving'"),
    ],
)
def test_mistakes_are_explained(tiny_data, endless, options, message) -> None:
    with pytest.raises(UserError, match=message):
        learning_curve(endless, tiny_data, lr=0.1, seeds=1, **options)
